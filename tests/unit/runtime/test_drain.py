"""Drain: in this order, within the grace period, and never without an end."""

import asyncio
import threading

import pytest

from nsqkit import Context, DeadLetter, Finish, Outcome
from nsqkit.runtime import drain as module
from nsqkit.runtime.drain import drain
from tests.unit.runtime.bench import (
    Bench,
    Happened,
    RecordingLog,
    asynchronous,
    ending,
    plain,
    until,
)
from tests.waiting import PATIENCE_S, turns, until_blocking

LONG_S = 3600.0
PUBLISH_S = 10.0


class FakeSource:
    """A connection that notes what it is told; nsqd's last messages come with CLS."""

    def __init__(self, bench: Bench, journal: list[str], *, last: int = 0) -> None:
        self.bench = bench
        self.journal = journal
        self.last = last
        self.timeout_s = 0.0

    async def stop_intake(self) -> None:
        self.journal.append("CLS")
        await turns()
        for _ in range(self.last):
            self.bench.receive()

    async def close(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.journal.append(f"close, {self.bench.intake.held} held")


@pytest.fixture
def journal() -> list[str]:
    return []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled handlers get no time to end."""
    monkeypatch.setattr(module, "CANCEL_S", 0.01)


async def test_an_idle_intake_drains_at_once(journal: list[str]) -> None:
    bench = Bench(ending(None))
    source = FakeSource(bench, journal)
    assert (
        await drain([(bench.intake, source)], grace_s=LONG_S, publish_timeout_s=PUBLISH_S, log=bench.log) == 0
    )
    assert journal == ["CLS", "close, 0 held"]
    assert bench.log.lines == []


async def test_no_intakes_drain_at_once() -> None:
    assert await drain([], grace_s=LONG_S, publish_timeout_s=PUBLISH_S, log=RecordingLog()) == 0


async def test_running_handlers_end_and_the_rest_is_given_back(journal: list[str]) -> None:
    gate = asyncio.Event()

    async def wait(_: Happened, ctx: Context) -> None:
        await gate.wait()

    bench = Bench(asynchronous(wait), slots=1)
    running, waiting = bench.receive(), bench.receive()
    source = FakeSource(bench, journal, last=2)
    task = asyncio.create_task(
        drain([(bench.intake, source)], grace_s=LONG_S, publish_timeout_s=PUBLISH_S, log=bench.log)
    )
    await until(lambda: bench.meter.requeues["shutdown"] == 3)
    assert running.answers == []
    gate.set()
    assert await task == 0
    assert running.answers == [("FIN",)]
    assert waiting.answers == [("REQ", 0.0)]
    assert journal == ["CLS", "close, 0 held"]
    assert bench.meter.is_balanced


async def test_all_intakes_stop_before_any_is_waited_for(journal: list[str]) -> None:
    gate = asyncio.Event()

    async def wait(_: Happened, ctx: Context) -> None:
        await gate.wait()

    benches = [Bench(asynchronous(wait)) for _ in range(2)]
    for bench in benches:
        bench.receive()
    pairs = [(bench.intake, FakeSource(bench, journal)) for bench in benches]
    task = asyncio.create_task(drain(pairs, grace_s=LONG_S, publish_timeout_s=PUBLISH_S, log=RecordingLog()))
    await until(lambda: journal == ["CLS", "CLS"])
    late = [bench.receive() for bench in benches]
    await until(lambda: all(message.answers == [("REQ", 0.0)] for message in late))
    gate.set()
    assert await task == 0
    assert journal[2:] == ["close, 0 held"] * 2


async def test_past_the_grace_period_async_handlers_are_cancelled_and_given_back(journal: list[str]) -> None:
    inside = asyncio.Event()

    async def hang(_: Happened, ctx: Context) -> None:
        inside.set()
        await asyncio.Event().wait()

    bench = Bench(asynchronous(hang))
    message = bench.receive()
    await inside.wait()
    source = FakeSource(bench, journal)
    assert (
        await drain([(bench.intake, source)], grace_s=0.01, publish_timeout_s=PUBLISH_S, log=bench.log) == 0
    )
    assert message.answers == [("REQ", 0.0)]
    assert bench.meter.requeues == {"shutdown": 1}
    assert ("warning", "drain_grace_over", {"held": 1, "grace_s": 0.01}) in bench.log.lines
    assert journal == ["CLS", "close, 0 held"]


async def test_a_plain_handler_that_minds_its_context_ends_in_the_second_phase(journal: list[str]) -> None:
    inside = threading.Event()

    def mind(_: Happened, ctx: Context) -> Outcome:
        inside.set()
        until_blocking(lambda: ctx.cancelled)
        return Finish()

    bench = Bench(plain(mind))
    message = bench.receive()
    await asyncio.to_thread(inside.wait, PATIENCE_S)
    assert (
        await drain(
            [(bench.intake, FakeSource(bench, journal))],
            grace_s=0.01,
            publish_timeout_s=PUBLISH_S,
            log=bench.log,
        )
        == 0
    )
    assert message.answers == [("FIN",)]


@pytest.mark.usefixtures("impatient")
async def test_a_thread_that_minds_nothing_is_left_behind_and_told(journal: list[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stick(_: Happened, ctx: Context) -> None:
        inside.set()
        leave.wait(PATIENCE_S)

    bench = Bench(plain(stick))
    message = bench.receive()
    await asyncio.to_thread(inside.wait, PATIENCE_S)
    left = await drain(
        [(bench.intake, FakeSource(bench, journal))], grace_s=0.01, publish_timeout_s=PUBLISH_S, log=bench.log
    )
    assert left == 1
    assert message.answers == [], "its lease brings it back"
    assert [name for _, name, _ in bench.log.lines] == ["drain_grace_over", "drain_left_behind"]
    assert journal == ["CLS", "close, 1 held"], "the others' answers still reach nsqd"
    leave.set()
    await bench.idle()


@pytest.mark.usefixtures("impatient")
async def test_one_stuck_handler_keeps_no_other_from_settling(journal: list[str]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def stick(_: Happened, ctx: Context) -> None:
        inside.set()
        leave.wait(PATIENCE_S)

    stuck_bench, other = Bench(plain(stick)), Bench(ending(None))
    stuck_bench.receive()
    await asyncio.to_thread(inside.wait, PATIENCE_S)
    message = await other.run()
    pairs = [(each.intake, FakeSource(each, journal)) for each in (stuck_bench, other)]
    assert await drain(pairs, grace_s=0.01, publish_timeout_s=PUBLISH_S, log=RecordingLog()) == 1
    assert message.answers == [("FIN",)]
    leave.set()
    await stuck_bench.idle()


async def test_closing_is_bounded(journal: list[str]) -> None:
    bench = Bench(ending(None))
    source = FakeSource(bench, journal)
    await drain([(bench.intake, source)], grace_s=LONG_S, publish_timeout_s=PUBLISH_S, log=bench.log)
    assert source.timeout_s == module.CANCEL_S


@pytest.mark.usefixtures("impatient")
async def test_a_dead_letter_under_way_is_waited_for_as_long_as_a_publish_may_take(
    journal: list[str],
) -> None:
    bench = Bench(ending(DeadLetter()))
    bench.publishes.gate = asyncio.Event()
    message = bench.receive()
    await until(lambda: ("publish", "consumed.work.dead") in bench.journal)
    source = FakeSource(bench, journal)
    draining = asyncio.create_task(
        drain([(bench.intake, source)], grace_s=0.01, publish_timeout_s=PUBLISH_S, log=bench.log)
    )
    await until(lambda: "drain_grace_over" in [name for _, name, _ in bench.log.lines])
    asyncio.get_running_loop().call_later(5 * module.CANCEL_S, bench.publishes.gate.set)
    assert await draining == 0
    assert message.answers == [("FIN",)]
