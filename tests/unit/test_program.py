"""Program: the setting names the event loop, and the first signal sets an event."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from nsqkit import program as module
from nsqkit.errors import SettingsError
from nsqkit.program import SIGNALS, is_set_within, run, stop_event, together
from tests.waiting import PATIENCE_S, turns

PROGRAM = """
import asyncio
from nsqkit.program import stop_event

async def main():
    stop = stop_event()
    print("ready", flush=True)
    await stop.wait()
    print("stopping", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

BLOCKED = """
import asyncio, sys, threading
from nsqkit import program
from nsqkit.cli.ending import on_second_signal

async def main():
    program.stop_event({on_second_signal})
    print("ready", flush=True)
    threading.Event().wait()

program.run(main(), sys.argv[1])
"""


async def kind() -> str:
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


@pytest.mark.parametrize(
    ("event_loop", "expected"),
    [
        pytest.param("asyncio", "asyncio", id="asyncio's own"),
        pytest.param("uvloop", "uvloop", id="uvloop"),
        pytest.param("auto", "uvloop", id="uvloop where it is installed"),
    ],
)
def test_the_setting_names_the_loop(event_loop: str, expected: str) -> None:
    pytest.importorskip("uvloop", reason="uvloop is not for this system")
    assert run(kind(), event_loop) == expected


@pytest.fixture
def without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # an import of it then fails


@pytest.mark.usefixtures("without_uvloop")
def test_without_uvloop_it_is_asyncios_own() -> None:
    assert run(kind(), "auto") == "asyncio"


@pytest.mark.usefixtures("without_uvloop")
def test_asking_for_what_is_not_installed_says_what_to_install() -> None:
    with pytest.raises(SettingsError, match=r"pip install 'nsqkit\[speed\]'"):
        run(kind(), "uvloop")


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_signal_sets_the_event(number: signal.Signals) -> None:
    stop = stop_event()
    assert not stop.is_set()
    os.kill(os.getpid(), number)
    async with asyncio.timeout(PATIENCE_S):
        await stop.wait()
    for each in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)


@pytest.mark.parametrize("number", SIGNALS)
def test_by_default_python_handles_a_second_signal(number: signal.Signals) -> None:
    """It ends the process by that signal; SIGINT by way of a KeyboardInterrupt."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        assert program.stdout.readline() == "stopping\n"
        program.send_signal(number)
        _, said = program.communicate(timeout=PATIENCE_S)
        assert program.returncode == -number
        assert said.endswith("KeyboardInterrupt\n") is (number is signal.SIGINT)


async def test_a_second_signal_does_what_the_caller_said() -> None:
    second = asyncio.Event()
    stop = stop_event(second.set)
    for event in (stop, second):
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await event.wait()
    for each in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(each)


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(
    ("on_second_signal", "codes"),
    [
        pytest.param("on_second_signal", {1}, id="as the caller said"),
        pytest.param("", {-signal.SIGINT, -signal.SIGTERM}, id="as Python does"),
    ],
)
def test_a_second_signal_is_heard_while_the_event_loop_is_blocked(
    event_loop: str, on_second_signal: str, codes: set[int]
) -> None:
    """Of two that are pending, the system chooses the order."""
    pytest.importorskip(event_loop)
    script = BLOCKED.format(on_second_signal=on_second_signal)
    with subprocess.Popen(
        [sys.executable, "-c", script, event_loop],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "ready\n"
        program.send_signal(signal.SIGTERM)
        program.send_signal(signal.SIGINT)  # another one: two of a kind may arrive as one
        _, said = program.communicate(timeout=PATIENCE_S)
        assert program.returncode in codes
        assert said.startswith("second signal: ending at once") is bool(on_second_signal)


async def deaf() -> None:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def hang() -> None:
    await asyncio.Event().wait()


class TestEnd:
    """Neither a task nor a thread keeps it from returning, and those that are left are named."""

    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "END_S", 0.01)

    def left(self, main: Callable[[], Coroutine[Any, Any, str]], event_loop: str) -> list[str]:
        left: list[str] = []
        assert run(main(), event_loop, on_left=left.extend) == "result"
        return left

    @pytest.fixture(params=["asyncio", "uvloop"])
    def event_loop(self, request: pytest.FixtureRequest) -> str:
        pytest.importorskip(request.param)
        return str(request.param)

    def test_a_task_that_ignores_its_cancellation_is_left(self, event_loop: str) -> None:
        tasks: list[asyncio.Task[None]] = []

        async def main() -> str:
            tasks.extend(asyncio.create_task(work(), name=work.__name__) for work in (deaf, hang))
            await turns()
            return "result"

        assert self.left(main, event_loop) == ["task deaf"]
        assert tasks[1].cancelled()

    def test_a_thread_that_does_not_end_is_left(self, event_loop: str) -> None:
        leave, inside = threading.Event(), threading.Event()

        def work() -> None:
            inside.set()
            leave.wait(PATIENCE_S)

        async def main() -> str:
            task = asyncio.create_task(asyncio.to_thread(work))
            await asyncio.to_thread(inside.wait, PATIENCE_S)
            task.cancel()
            return "result"

        (thread,) = self.left(main, event_loop)
        assert thread.startswith("thread nsqkit-loop_")
        leave.set()

    def test_tasks_and_threads_that_end_are_not_left(self, event_loop: str) -> None:
        async def main() -> str:
            task = asyncio.create_task(hang())
            await asyncio.to_thread(lambda: None)
            await turns()
            assert not task.done()
            return "result"

        assert self.left(main, event_loop) == []

    def test_an_error_is_raised_after_the_end(self) -> None:
        left: list[str] = []

        async def main() -> None:
            task = asyncio.create_task(deaf(), name="deaf")
            await turns()
            raise LookupError(task.get_name())

        with pytest.raises(LookupError, match="deaf"):
            run(main(), "asyncio", on_left=left.extend)
        assert left == ["task deaf"]


class TestTogether:
    """Coroutines side by side: all to their end, or none after a failure."""

    async def test_all_run_to_their_end(self) -> None:
        done: list[int] = []

        async def work(n: int) -> None:
            await turns()
            done.append(n)

        await together(work(1), work(2))
        assert done == [1, 2]

    async def test_the_first_failure_cancels_the_others_and_is_raised_as_it_is(self) -> None:
        cancelled = asyncio.Event()

        async def wait() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def fail() -> None:
            await turns()
            raise ValueError("x")

        with pytest.raises(ValueError, match="x"):
            await together(wait(), fail())
        assert cancelled.is_set()


class TestIsSetWithin:
    async def test_an_event_that_is_set_is_not_waited_for(self) -> None:
        event = asyncio.Event()
        event.set()
        assert await is_set_within(event, 3600.0)

    async def test_one_that_stays_unset_is_told_apart(self) -> None:
        assert not await is_set_within(asyncio.Event(), -1.0)


async def test_work_that_fails_when_it_is_cancelled_does_not_hide_the_cancellation() -> None:
    """A keeper that goes on after its cancellation would be waited for without end."""

    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("it was away")

    running = asyncio.create_task(together(fails(), fails()))
    await turns(2)
    running.cancel()
    await asyncio.wait((running,))
    assert running.cancelled()


async def test_no_work_ends_at_once() -> None:
    await together()
