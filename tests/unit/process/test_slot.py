"""Slot: a child that ends is started again, later each time; a replacement is ready before the old ends."""

import asyncio
import sys
from collections.abc import AsyncIterator
from unittest.mock import AsyncMock

import pytest
import structlog

from nsqkit import Settings
from nsqkit.policy.retry import Exponential
from nsqkit.process import slot as module
from nsqkit.process.child import ChildWorker, Plan
from nsqkit.process.child_state import ChildState
from nsqkit.process.running_child import ChildEndedError, RunningChild
from nsqkit.process.slot import Slot
from nsqkit.telemetry.metrics.cells import CellReader
from tests.waiting import PATIENCE_S, turns, until

PLAN = Plan(("unused",), Settings())
BEGIN = """
import json, os, signal, sys, time
from nsqkit.process.child import ParentLink
parent = ParentLink(int(sys.argv[1]))
parent.plan()
"""
LOAD = "assert parent.wait_turn([('t', 'c')])"
READY = """
link = parent._link
for event in ("started", "ready"):
    link.sendall(json.dumps({"event": event}).encode() + b"\\n")
"""
PAUSE = "while True: signal.pause()"


class Place:
    """A slot whose children are some lines of Python."""

    def __init__(self) -> None:
        self.lines: tuple[str, ...] = (LOAD, READY, PAUSE)
        self.ready: list[RunningChild] = []
        self.log = structlog.get_logger()
        self.changes: list[tuple[str, str]] = []
        self.slot = Slot(
            1,
            self.start,
            on_ready=self.on_ready,
            on_change=lambda kind, text: self.changes.append((kind, text)),
            grace_s=PATIENCE_S,
            log=self.log,
        )
        self.keeping: asyncio.Task[None] | None = None

    async def start(self, number: int) -> RunningChild:
        worker = await ChildWorker.start([sys.executable, "-c", "\n".join((BEGIN, *self.lines))], PLAN)
        return RunningChild(number, worker, CellReader(), self.log)

    async def on_ready(self, child: RunningChild) -> None:
        self.ready.append(child)

    def keep(self) -> None:
        self.keeping = asyncio.create_task(self.slot.keep())

    async def runs(self) -> RunningChild:
        child = await until(lambda: self.slot.child)
        assert child is not None
        return child

    async def end(self) -> list[int]:
        if self.keeping is not None:
            self.keeping.cancel()
            await asyncio.wait({self.keeping})
        return await self.slot.end()


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    made = Place()
    yield made
    made.slot.kill()
    await made.end()


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        pytest.param(["sys.exit(2)"], 2, id="while it loads"),
        pytest.param([LOAD, "sys.exit(0)"], 0, id="after it has loaded, whatever its code"),
        pytest.param([LOAD, "os.kill(os.getpid(), 9)"], -9, id="for lack of memory"),
    ],
)
async def test_one_that_ends_before_it_is_ready_is_not_started_again(
    place: Place, lines: list[str], code: int
) -> None:
    place.lines = tuple(lines)
    with pytest.raises(ChildEndedError) as raised:
        await place.slot.keep()
    assert (raised.value.number, raised.value.code) == (1, code)
    assert "worker 1 ended before it was ready" in str(raised.value)
    assert not place.slot.was_ready.is_set()


async def test_one_that_ends_later_is_started_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTARTS", Exponential(base_s=0.001, max_s=0.001))
    place.keep()
    with structlog.testing.capture_logs() as log:
        first = await place.runs()
        first.kill()
        await until(lambda: len(place.ready) == 2)
    (line,) = log
    assert (line["event"], line["worker"], line["pid"]) == ("worker_ended", 1, first.pid)
    assert "SIGKILL" in line["reason"]
    second = await place.runs()
    assert second.pid != first.pid
    await until(lambda: len(place.changes) == 2)
    assert place.changes == [
        ("ended", f"worker 1 ended with {line['reason']}"),
        ("start", "worker 1 has started again"),
    ]


async def test_each_restart_waits_longer_until_a_child_lasts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESTARTS", Exponential(base_s=0.001, factor=2.0, max_s=1.0, jitter="none"))
    place.lines = (LOAD, READY, "sys.exit(3)")
    place.keep()
    with structlog.testing.capture_logs():
        await until(lambda: place.slot._failures >= 3)
    monkeypatch.setattr(module, "STEADY_S", 0.0)
    with structlog.testing.capture_logs():
        await until(lambda: place.slot._failures == 1)


async def test_while_none_runs_its_state_says_why(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTARTS", Exponential(base_s=3600.0, max_s=3600.0))
    assert await place.slot.state() == ChildState(problems=("starting",))
    place.keep()
    (await place.runs()).kill()
    await until(lambda: place.slot.child is None)
    state = await place.slot.state()
    assert state.faults == ()
    assert "ended with SIGKILL" in state.problems[0]
    await place.end()
    assert await place.slot.state() == ChildState(problems=("draining",))


async def test_a_replacement_is_ready_before_the_old_one_is_told_to_end(place: Place) -> None:
    place.keep()
    before = await place.runs()
    ended = asyncio.create_task(before.wait())
    is_ended_when_ready = []
    real = place.slot._on_ready

    async def on_ready(child: RunningChild) -> None:
        is_ended_when_ready.append(ended.done())
        await real(child)

    place.slot._on_ready = on_ready
    assert await place.slot.replace(asyncio.Event())
    assert is_ended_when_ready == [False]
    assert await ended is not None
    after = await place.runs()
    assert after.pid != before.pid
    assert place.keeping is not None
    assert not place.keeping.done(), "the end of the old one is no failure"
    assert place.changes == [("deploy", "worker 1 was replaced")]
    after.kill()
    await until(lambda: place.slot.child is None)


async def test_a_question_to_a_child_that_is_replaced_is_for_the_new_one(place: Place) -> None:
    place.keep()
    before = await place.runs()
    answer = ChildState(problems=("of the new one",))

    async def on_ready(child: RunningChild) -> None:
        child.state = AsyncMock(return_value=answer)  # type: ignore[method-assign]

    place.slot._on_ready = on_ready
    asked = asyncio.create_task(place.slot.state())
    await turns()
    assert await place.slot.replace(asyncio.Event())
    assert await asked == answer
    assert await before.wait() is not None


async def test_a_replacement_that_is_never_ready_leaves_the_old_one(place: Place) -> None:
    place.keep()
    before = await place.runs()
    place.lines = ("sys.exit(2)",)
    with structlog.testing.capture_logs() as log:
        assert not await place.slot.replace(asyncio.Event())
    assert [line["event"] for line in log] == ["replacement_failed"]
    assert place.slot.child is before


async def test_a_replacement_that_hangs_is_given_up_on_request(place: Place) -> None:
    place.keep()
    before = await place.runs()
    place.lines = (PAUSE,)
    give_up = asyncio.Event()
    with structlog.testing.capture_logs() as log:
        replacing = asyncio.create_task(place.slot.replace(give_up))
        await until(lambda: len(place.slot._processes) == 2)
        give_up.set()
        assert not await replacing
    assert [line["event"] for line in log] == ["replacement_failed"]
    assert place.slot.child is before
    assert len(place.slot._processes) == 1


async def test_the_end_interrupts_a_replacement(place: Place) -> None:
    place.keep()
    before = await place.runs()
    place.lines = (PAUSE,)
    replacing = asyncio.create_task(place.slot.replace(asyncio.Event()))
    await until(lambda: len(place.slot._processes) == 2)
    replacing.cancel()
    assert await place.end() == [0, 0]
    assert await before.wait() is not None


async def test_one_that_does_not_end_in_time_is_killed(place: Place) -> None:
    place.lines = (LOAD, "signal.signal(signal.SIGTERM, signal.SIG_IGN)", READY, PAUSE)
    place.slot._grace_s = 0.01
    place.keep()
    await place.runs()
    with structlog.testing.capture_logs() as log:
        assert await place.end() == [-9]
    assert [line["event"] for line in log] == ["worker_killed"]


async def test_one_that_says_rubbish_is_killed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTARTS", Exponential(base_s=3600.0, max_s=3600.0))
    place.lines = (LOAD, READY, 'link.sendall(b"rubbish\\n")', PAUSE)
    with structlog.testing.capture_logs() as log:
        place.keep()
        await place.slot.was_ready.wait()
        await until(lambda: place.slot.child is None)
    assert [line["event"] for line in log] == ["worker_unreadable", "worker_ended"]
