"""OutcomeLabel: neither a second signal nor an exit code waits for a thread that never ends."""

import signal
import subprocess
import sys

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
