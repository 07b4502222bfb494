"""OutcomeLabel: neither a second signal nor an exit code waits for a thread that never ends."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE_S

STUCK = """
import asyncio, threading
from nsqkit.cli.ending import end_at_once, on_second_signal
from nsqkit.program import stop_event

async def main():
    stop = stop_event(on_second_signal)
    threading.Thread(target=threading.Event().wait).start()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    {then}

asyncio.run(main())
"""


def stuck(then: str) -> "subprocess.Popen[str]":
    """Start a program with a thread that never ends."""
    return subprocess.Popen(
        [sys.executable, "-c", STUCK.format(then=then)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_signal_ends_the_process_with_1_though_a_thread_is_stuck() -> None:
    with stuck("await asyncio.Event().wait()") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        assert program.stdout.readline() == "stopping\n"
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=PATIENCE_S)
        assert program.returncode == 1
        assert told.startswith("second signal: ending at once")


def test_a_process_can_end_with_its_code_though_a_thread_is_stuck() -> None:
    with stuck("end_at_once(3)") as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        said, _ = program.communicate(timeout=PATIENCE_S)
        assert (program.returncode, said) == (3, "stopping\n")


HANDLERS = """
import asyncio, threading
from dataclasses import dataclass
from nsqkit import Context, Handler, event

@event("ending.happened", version=1, topic="ending")
@dataclass
class Happened:
    n: int = 0

class Deaf(Handler[Happened], channel="ending"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        print("inside", flush=True)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

class Stuck(Handler[Happened], channel="ending"):
    def handle(self, event: Happened, ctx: Context) -> None:
        print("inside", flush=True)
        threading.Event().wait()

class Threaded(Handler[Happened], channel="ending"):
    async def handle(self, event: Happened, ctx: Context) -> None:
        await asyncio.to_thread(self.wait)

    def wait(self) -> None:
        print("inside", flush=True)
        threading.Event().wait()
"""
RUN = """
import sys
from nsqkit import program
from nsqkit.cli import main
from nsqkit.runtime import drain

drain.CANCEL_S = program.END_S = 0.05
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("handler", "left_behind", "running"),
    [
        pytest.param("Deaf", 1, "task Deaf.handle", id="a task that ignores its cancellation"),
        pytest.param("Stuck", 1, None, id="a plain handler's thread"),
        pytest.param("Threaded", 0, "thread nsqkit-loop_", id="a thread that an async handler started"),
    ],
)
@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
def test_a_run_ends_with_1_and_names_what_goes_on(
    tmp_path: Path, event_loop: str, handler: str, left_behind: int, running: str | None
) -> None:
    pytest.importorskip(event_loop)
    (tmp_path / "ending_handlers.py").write_text(HANDLERS)
    (tmp_path / "feed.jsonl").write_text('{"n": 1}\n')
    options = ("--admin-port", "0", "--log-format", "json", "--feed", "ending=feed.jsonl")
    settings = (f"event_loop={event_loop}", "dev_tcp_port=0", "dev_http_port=0", "grace_s=0")
    sets = [word for setting in settings for word in ("--set", setting)]
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "run", f"ending_handlers:{handler}", "--dev", *options, *sets],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "inside\n", program.communicate()[1]
        program.send_signal(signal.SIGTERM)
        _, said = program.communicate(timeout=PATIENCE_S)
    assert program.returncode == 1
    log = {line["event"]: line for line in map(json.loads, said.splitlines())}
    assert log["worker_stopping"]["held"] == 1
    assert "a second signal ends the process at once" in log["worker_stopping"]["hint"]
    assert log["worker_stopped"]["left_behind"] == left_behind
    assert ("drain_left_behind" in log) is bool(left_behind)
    if running is None:
        assert "left_running" not in log
    else:
        (name,) = log["left_running"]["running"]
        assert name.startswith(running)
