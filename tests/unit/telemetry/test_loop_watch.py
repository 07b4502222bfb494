"""The loop watch: a block is logged once, with the code that blocks, and nothing else is blamed."""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from nsqkit import Context, Handler, event, program
from nsqkit.telemetry import loop_watch as module
from nsqkit.telemetry.loop_watch import LoopWatch
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import PATIENCE_S, turns, until, until_blocking

CTX: Any = None


@event("watched.happened", version=1, topic="looped")
@dataclass
class Happened:
    pass


class Log(RecordingLog):
    """Lets a test block the loop until the block is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.has_warned = threading.Event()

    def warning(self, event: str, **fields: object) -> None:
        super().warning(event, **fields)
        self.has_warned.set()

    def block(self) -> None:
        self.has_warned.wait(PATIENCE_S)


class Blocking(Handler[Happened], channel="blocking"):
    def __init__(self, block: Callable[[], object]) -> None:
        self.block = block

    async def handle(self, event: Happened, ctx: Context) -> None:
        self.block()


class OnLoop(Handler[Happened], channel="on-loop", run_on_loop=True):
    def __init__(self, block: Callable[[], object]) -> None:
        self.block = block

    def handle(self, event: Happened, ctx: Context) -> None:
        self.block()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEAT_S", 0.02)
    monkeypatch.setattr(module, "_LATE_S", 0.06)


@pytest.fixture
def log() -> Log:
    return Log()


def line_of(name: str) -> str:
    """Return the place of the line that begins with this, in this file."""
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return f"{__file__}:{next(n for n, line in enumerate(lines, 1) if line.strip().startswith(name))}"


class Metrics:
    """Counts blocks."""

    def __init__(self) -> None:
        self.count = 0

    def event_loop_blocked(self) -> None:
        self.count += 1


async def watched(
    handlers: Sequence[type[Handler[Happened]]],
    log: Log,
    work: Coroutine[Any, Any, None],
    on_block: Callable[[], None] = lambda: None,
) -> None:
    """Run work in a task, and wait until its block has begun and ended."""
    watch = LoopWatch([each.spec for each in handlers], log, on_block)
    watch.start()
    await turns()
    await asyncio.create_task(work)
    await until(lambda: len(log.lines) == 2)
    watch.stop()


def fields_of(log: Log) -> dict[str, Any]:
    """Return the fields of the one block in the log."""
    blocked, resumed = log.lines
    assert blocked[:2] == ("warning", "event_loop_blocked")
    assert resumed[:2] == ("info", "event_loop_resumed")
    return blocked[2]


@pytest.mark.parametrize("event_loop", ["asyncio", "uvloop"])
def test_a_handler_that_blocks_is_named_with_its_line(event_loop: str, log: Log) -> None:
    pytest.importorskip(event_loop)
    handler = Blocking(partial(log.has_warned.wait, PATIENCE_S))
    program.run(watched([Blocking], log, handler.handle(Happened(), CTX)), event_loop)
    fields = fields_of(log)
    assert (fields["handler"], fields["function"]) == ("Blocking", "threading.Condition.wait")
    assert fields["at"] == line_of("self.block()")
    assert "plain `def handle`" in fields["hint"]


async def test_a_helper_in_the_handlers_module_is_named_where_it_blocks(log: Log) -> None:
    await watched([Blocking], log, Blocking(log.block).handle(Happened(), CTX))
    fields = fields_of(log)
    assert (fields["handler"], fields["at"]) == ("Blocking", line_of("self.has_warned.wait("))


async def test_a_plain_handler_on_the_loop_gets_another_hint(log: Log) -> None:
    async def work() -> None:
        OnLoop(log.block).handle(Happened(), CTX)

    await watched([OnLoop], log, work())
    assert fields_of(log)["handler"] == "OnLoop"
    assert "run_on_loop" in fields_of(log)["hint"]


async def test_each_block_is_counted_once_while_it_lasts(log: Log) -> None:
    counts: list[int] = []

    def block() -> None:
        log.has_warned.wait(PATIENCE_S)
        counts.append(metrics.count)

    metrics = Metrics()
    for _ in range(2):
        log.has_warned.clear()
        log.lines.clear()
        await watched([Blocking], log, Blocking(block).handle(Happened(), CTX), metrics.event_loop_blocked)
    assert counts == [1, 2]


async def test_code_that_is_no_handler_is_named_by_its_line(log: Log) -> None:
    async def work() -> None:
        log.block()

    await watched([], log, work())
    fields = fields_of(log)
    assert (fields["handler"], fields["at"]) == (None, line_of("self.has_warned.wait("))
    assert "asyncio.to_thread" in fields["hint"]


async def test_a_callback_of_a_library_is_named_where_there_is_no_other_line(log: Log) -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(log.has_warned.wait, PATIENCE_S)

    await watched([Blocking], log, work())
    assert "threading.py:" in fields_of(log)["at"]


async def test_a_loop_that_waits_for_events_is_not_blocked(log: Log) -> None:
    """So it is while the process is suspended, and under virtual time."""
    watch = LoopWatch([Blocking.spec], log)
    watch.start()
    await turns()
    loops_thread = threading.get_ident()

    def report_once_it_waits() -> None:
        until_blocking(lambda: sys._current_frames()[loops_thread].f_code.co_name == "select")
        watch._report(watch._beat_s, watch._beat_s + 60.0)

    await asyncio.to_thread(report_once_it_waits)
    assert log.lines == []
    watch.stop()


class Scripted:
    """A clock that only the watch's waits move, once by more than it asked for; and an open, running loop."""

    def __init__(self, *, overslept_s: float, used_s: float) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0
        self._steps = [(overslept_s, used_s)]

    def monotonic(self) -> float:
        return self.now_s

    def process_time(self) -> float:
        return self.cpu_s

    def wait(self, wait_s: float) -> bool:
        if not self._steps:
            return True
        overslept_s, used_s = self._steps.pop()
        self.now_s += wait_s + overslept_s
        self.cpu_s += used_s
        return False

    def is_closed(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("overslept_s", "used_s", "is_reported"),
    [
        pytest.param(0.0, 0.0, True, id="code that sleeps lets the thread wake on time"),
        pytest.param(9.0, 9.0, True, id="native code that keeps the lock uses the CPU"),
        pytest.param(9.0, 0.0, False, id="a suspended process uses none"),
    ],
)
def test_a_suspended_process_is_not_a_blocked_loop(
    monkeypatch: pytest.MonkeyPatch, log: Log, *, overslept_s: float, used_s: float, is_reported: bool
) -> None:
    scripted: Any = Scripted(overslept_s=overslept_s, used_s=used_s)
    reported: list[float] = []
    watch = LoopWatch([], log)
    watch._reported_s = -1.0
    monkeypatch.setattr(module, "time", scripted)
    monkeypatch.setattr(watch, "_stopping", scripted)
    monkeypatch.setattr(watch, "_report", lambda beat_s, _: reported.append(beat_s))
    watch._watch(scripted)
    assert bool(reported) is is_reported


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "nsqkit-loop-watch"]


async def test_its_thread_ends_when_it_is_stopped(log: Log) -> None:
    watch = LoopWatch([], log)
    watch.stop()  # changes nothing before the start
    watch = LoopWatch([], log)
    watch.start()
    assert len(threads()) == 1
    watch.stop()
    watch.stop()
    await until(lambda: not threads())


def test_its_thread_ends_with_the_loop(log: Log) -> None:
    async def main() -> None:
        LoopWatch([], log).start()

    asyncio.run(main())
    until_blocking(lambda: not threads())
