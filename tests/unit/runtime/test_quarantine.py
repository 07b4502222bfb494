"""Quarantine: what may end its process runs alone in its worker, after all that may not."""

import asyncio
import threading
from typing import Any

import pytest

from nsqkit import Context, DeadLetter, RateLimit
from nsqkit.policy.verdict import RequeueReason
from nsqkit.runtime.gate import Flow
from nsqkit.runtime.quarantine import Quarantine
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import (
    Bench,
    FakeMessage,
    Happened,
    asynchronous,
    passed,
    plain,
    until,
)
from tests.waiting import PATIENCE_S, turns

SUSPECT = 6
"""Deliveries of a message whose handler has max_attempts=5."""


class Member:
    """One of a worker's handlers: who runs there, and who is let out."""

    def __init__(self, name: str, everybody: list[str], quarantine: Quarantine, **options: Any) -> None:
        self.name = name
        self.everybody = everybody
        self.inside: list[str] = []
        self.started: list[str] = []
        self._out = asyncio.Semaphore(0)
        keywords = options.pop("keywords", {})
        self.bench = Bench(asynchronous(self.handle, **keywords), quarantine=quarantine, **options)

    async def handle(self, event: Happened, ctx: Context) -> None:
        label = f"{self.name}{event.n}"
        self.started.append(label)
        self.inside.append(label)
        self.everybody.append(label)
        if ctx.attempts >= SUSPECT:
            assert self.everybody == [label], "it is alone"
        try:
            await self._out.acquire()
        finally:
            self.inside.remove(label)
            self.everybody.remove(label)

    def let_out(self, count: int = 1) -> None:
        for _ in range(count):
            self._out.release()

    def receive(self, n: int, attempts: int = 1, **options: Any) -> FakeMessage:
        return self.bench.receive(b'{"n": %d}' % n, attempts=attempts, **options)

    def takes_in(self) -> bool:
        """Whether its connections were last told to."""
        return not self.bench.flows or self.bench.flows[-1] is not Flow.SHUT


class Worker:
    """Two handlers under one quarantine."""

    def __init__(self, hours: VirtualClock, **options: Any) -> None:
        self.quarantine = Quarantine()
        everybody: list[str] = []
        self.inside = everybody
        self.a, self.b = (
            Member(name, everybody, self.quarantine, now_s=hours.now_s, **options) for name in "ab"
        )

    async def idle(self) -> None:
        await self.a.bench.idle()
        await self.b.bench.idle()
        assert not self.quarantine.is_on
        assert not self.quarantine.runs_suspect


@pytest.fixture
async def worker(hours: VirtualClock) -> Worker:
    return Worker(hours)


async def until_done(member: Member, count: int) -> None:
    """Let time pass until so many of a handler's have succeeded."""
    async with asyncio.timeout(PATIENCE_S * 60):
        while member.bench.meter.outcomes["success"] < count:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(1.0)  # lets virtual time pass


class TestAlone:
    async def test_nothing_starts_in_any_handler_until_it_ends(self, worker: Worker) -> None:
        worker.a.receive(1, SUSPECT)
        await until(lambda: worker.inside == ["a1"])
        worker.a.receive(2)
        worker.b.receive(3)
        await turns(5)
        assert worker.inside == ["a1"]
        worker.a.let_out()
        await until(lambda: sorted(worker.inside) == ["a2", "b3"])
        worker.a.let_out()
        worker.b.let_out()
        await worker.idle()

    async def test_it_is_logged_before_it_starts(
        self, worker: Worker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may end the process, and leaves no other trace then."""
        lines: list[tuple[str, object, object, list[str]]] = []

        def warning(_: object, event: str, **fields: object) -> None:
            lines.append((event, fields["message_id"], fields["attempts"], worker.a.started[:]))

        monkeypatch.setattr(type(worker.a.bench.log), "warning", warning)
        suspect = worker.a.receive(1, SUSPECT)
        await until(lambda: worker.inside == ["a1"])
        assert lines == [("suspect_started", suspect.id.decode(), SUSPECT, [])]
        worker.a.let_out()
        await worker.idle()

    async def test_it_waits_for_all_that_runs_and_all_that_may_start(self, worker: Worker) -> None:
        worker.b.receive(1)
        await until(lambda: worker.inside == ["b1"])
        worker.a.receive(2, SUSPECT)
        worker.b.receive(3)
        await until(lambda: worker.inside == ["b1", "b3"])
        worker.b.let_out()
        await turns(5)
        assert worker.a.inside == []
        worker.b.let_out()
        await until(lambda: worker.inside == ["a2"])
        worker.a.let_out()
        await worker.idle()

    async def test_meanwhile_no_handler_takes_anything_in(self, worker: Worker) -> None:
        worker.b.receive(1)
        worker.a.receive(2, SUSPECT)
        await until(lambda: worker.inside == ["b1"])
        assert not (worker.a.takes_in())
        assert not (worker.b.takes_in())
        worker.b.let_out()
        await until(lambda: worker.inside == ["a2"])
        assert not (worker.a.takes_in())
        assert not (worker.b.takes_in())
        worker.a.let_out()
        await worker.idle()
        assert worker.a.takes_in()
        assert worker.b.takes_in()

    async def test_fewer_attempts_go_first_in_whichever_handler(self, worker: Worker) -> None:
        worker.a.receive(1, SUSPECT + 2)
        worker.b.receive(2, SUSPECT)
        worker.a.receive(3, SUSPECT + 1)
        for member in (worker.b, worker.a, worker.a):
            await until(lambda member=member: len(member.inside) == 1)  # type: ignore[misc]
            member.let_out()
            await until(lambda member=member: member.inside == [])  # type: ignore[misc]
        await worker.idle()
        assert worker.a.started == ["a3", "a1"]

    async def test_answers_to_what_ended_before_are_sent_by_then(self, hours: VirtualClock) -> None:
        """Or a process that it ends would take them along."""
        sent: list[str] = []

        async def work(event: Happened, ctx: Context) -> None:
            if ctx.attempts >= SUSPECT:
                assert sent == ["1", "2"]

        bench = Bench(asynchronous(work), now_s=hours.now_s)
        loop = asyncio.get_running_loop()
        for n in (1, 2, 3):
            message = bench.receive(b'{"n": %d}' % n, attempts=SUSPECT if n == 3 else 1)
            finish = message.finish

            def later(n: int = n, finish: Any = finish) -> bool:
                loop.call_soon(sent.append, str(n))  # as the connection writes all of a turn at its end
                return bool(finish())

            message.finish = later  # type: ignore[method-assign]
        await bench.idle()
        assert bench.meter.outcomes == {"success": 3}


class TestGate:
    async def test_one_whose_gate_is_shut_waits_and_holds_nobody_up(self, worker: Worker) -> None:
        worker.a.bench.gate.shut(RequeueReason.PAUSED)
        worker.a.receive(1, SUSPECT)
        worker.b.receive(2)
        await until(lambda: worker.inside == ["b2"])
        assert worker.b.takes_in()
        worker.a.bench.gate.open(RequeueReason.PAUSED)
        await turns(5)
        assert worker.inside == ["b2"]
        assert not worker.b.takes_in()
        worker.b.let_out()
        await until(lambda: worker.inside == ["a1"])
        worker.a.let_out()
        await worker.idle()

    async def test_a_gate_that_is_shut_while_it_waits_lets_the_others_go_on(self, worker: Worker) -> None:
        worker.b.receive(1)
        worker.a.receive(2, SUSPECT)
        await until(lambda: not worker.b.takes_in())
        worker.a.bench.gate.shut(RequeueReason.PAUSED)
        assert worker.b.takes_in()
        worker.b.let_out()
        await turns(5)
        assert worker.inside == []
        worker.a.bench.gate.open(RequeueReason.PAUSED)
        await until(lambda: worker.inside == ["a2"])
        worker.a.let_out()
        await worker.idle()

    async def test_what_waits_behind_a_shut_gate_holds_it_up_no_longer(self, worker: Worker) -> None:
        worker.b.bench.gate.shut(RequeueReason.PAUSED)
        worker.b.receive(1)
        worker.a.receive(2, SUSPECT)
        await until(lambda: worker.inside == ["a2"])
        worker.a.let_out()
        await worker.a.bench.idle()
        worker.b.bench.gate.open(RequeueReason.PAUSED)
        worker.b.let_out()
        await worker.idle()

    async def test_it_does_not_start_if_the_gate_is_shut_at_that_moment(self, worker: Worker) -> None:
        worker.a.receive(1, SUSPECT)
        await until(lambda: worker.quarantine.runs_suspect)
        assert worker.inside == [], "it is about to"
        worker.a.bench.gate.shut(RequeueReason.PAUSED)
        await turns(5)
        assert worker.inside == []
        assert worker.b.takes_in()
        worker.a.bench.gate.open(RequeueReason.PAUSED)
        worker.a.let_out()
        await worker.idle()
        assert worker.a.started == ["a1"]

    async def test_on_trial_it_may_be_the_trial(self, worker: Worker) -> None:
        worker.a.bench.gate.probe(1)
        worker.a.receive(1, SUSPECT)
        await until(lambda: worker.inside == ["a1"])
        worker.a.let_out()
        await worker.idle()


class TestLeft:
    """It ends however its suspects leave."""

    async def test_one_that_could_not_be_held_longer_leaves_nothing_behind(
        self, hours: VirtualClock, worker: Worker
    ) -> None:
        worker.b.receive(1)
        await until(lambda: worker.inside == ["b1"])
        suspect = worker.a.receive(2, SUSPECT, max_lease_s=20.0, lease_s=20.0)
        await passed(hours, 19.0)
        assert suspect.answers == [("REQ", 0.0)]
        assert not worker.quarantine.is_on
        assert worker.b.takes_in()
        worker.b.let_out()
        await worker.idle()

    async def test_also_where_nothing_that_kept_it_ever_runs(self, hours: VirtualClock) -> None:
        """All leave unstarted: nobody ends, nobody would say that the quarantine is over."""
        worker = Worker(hours, keywords={"rate_limit": RateLimit(0.0005)})
        worker.b.receive(1)
        worker.b.let_out()
        await worker.b.bench.idle()
        worker.b.receive(2)
        worker.a.receive(3, SUSPECT, max_lease_s=800.0)
        await worker.idle()
        assert worker.a.bench.meter.requeues == worker.b.bench.meter.requeues == {"rate_limited": 1}
        assert worker.a.started == []
        assert worker.a.takes_in()
        assert worker.b.takes_in()

    async def test_one_starts_when_what_kept_it_has_left_unstarted(self, hours: VirtualClock) -> None:
        worker = Worker(hours, keywords={"rate_limit": RateLimit(0.0005)})
        worker.b.receive(1)
        worker.b.let_out()
        await worker.b.bench.idle()
        waiting = worker.b.receive(2, max_lease_s=100.0)
        worker.a.receive(3, SUSPECT)
        worker.a.let_out()
        await worker.idle()
        assert waiting.answers == [("REQ", 0.0)]
        assert worker.a.started == ["a3"]

    async def test_one_that_is_redelivered_while_it_waits_is_waited_for_anew(self, worker: Worker) -> None:
        worker.b.receive(1)
        await until(lambda: worker.inside == ["b1"])
        earlier = worker.a.receive(2, SUSPECT)
        await until(lambda: worker.quarantine.is_on)
        later = worker.a.bench.redeliver(earlier)
        await turns(5)
        assert worker.quarantine.is_on
        worker.b.let_out()
        worker.a.let_out()
        await worker.idle()
        assert (earlier.answers, later.answers) == ([], [("FIN",)])

    async def test_what_goes_before_it_does_so_when_it_is_redelivered_too(self, hours: VirtualClock) -> None:
        worker = Worker(hours, keywords={"rate_limit": RateLimit(0.01)})
        worker.b.receive(1)
        worker.b.let_out(2)
        await worker.b.bench.idle()
        waiting = worker.b.receive(2)
        worker.a.receive(3, SUSPECT)
        await until(lambda: worker.quarantine.is_on)
        worker.b.bench.redeliver(waiting)
        await turns(5)
        assert worker.inside == []
        await until_done(worker.b, 2)
        worker.a.let_out()
        await worker.idle()

    async def test_one_that_is_redelivered_while_it_runs_follows_from_its_end(self, worker: Worker) -> None:
        earlier = worker.a.receive(1, SUSPECT)
        await until(lambda: worker.inside == ["a1"])
        later = worker.a.bench.redeliver(earlier)
        worker.a.let_out()
        await worker.idle()
        assert (earlier.answers, later.answers) == ([], [("FIN",)])
        assert worker.a.started == ["a1"]

    async def test_one_that_is_dead_lettered_is_alone_until_nsqd_has_it(self, hours: VirtualClock) -> None:
        quarantine = Quarantine()

        async def bury(event: Happened, ctx: Context) -> DeadLetter:
            return DeadLetter("x")

        a = Bench(asynchronous(bury), quarantine=quarantine, now_s=hours.now_s)
        b = Member("b", [], quarantine, now_s=hours.now_s)
        a.publishes.gate = asyncio.Event()
        a.receive(attempts=SUSPECT)
        await until(lambda: quarantine.runs_suspect)
        b.receive(1)
        await turns(5)
        assert b.inside == []
        a.publishes.gate.set()
        b.let_out()
        await a.idle()
        await b.bench.idle()

    async def test_a_stop_gives_back_what_waits_and_starts_nothing_elsewhere(self, worker: Worker) -> None:
        """The drain stops one intake after the other: the first must not let the next one's suspect go."""
        worker.a.receive(1)
        await until(lambda: worker.inside == ["a1"])
        suspects = [worker.a.receive(2, SUSPECT), worker.b.receive(3, SUSPECT)]
        await until(lambda: worker.quarantine.is_on)
        worker.a.let_out()
        for member in (worker.a, worker.b):
            member.bench.intake.stop()
        await turns(5)
        for member in (worker.a, worker.b):
            member.bench.intake.give_back()
        await worker.idle()
        assert [each.answers for each in suspects] == [[("REQ", 0.0)]] * 2
        assert worker.b.started == []

    async def test_one_that_is_cancelled_at_the_end_of_the_grace_is_given_back(self, worker: Worker) -> None:
        suspect = worker.a.receive(1, SUSPECT)
        await until(lambda: worker.inside == ["a1"])
        for member in (worker.a, worker.b):
            member.bench.intake.stop()
            member.bench.intake.give_back()
            member.bench.intake.cancel()
        await worker.idle()
        assert suspect.answers == [("REQ", 0.0)]


class TestStuck:
    """A thread that never ends takes a slot, not the worker."""

    @pytest.fixture
    def let_out(self) -> Any:
        event = threading.Event()
        yield event
        event.set()

    async def test_a_suspect_is_alone_as_long_as_it_is_held(
        self, hours: VirtualClock, let_out: threading.Event
    ) -> None:
        quarantine = Quarantine()
        inside = threading.Event()

        def hang(event: Happened, ctx: Context) -> None:
            inside.set()
            let_out.wait(PATIENCE_S)

        a = Bench(plain(hang, timeout_s=30.0), quarantine=quarantine, now_s=hours.now_s, slots=2)
        b = Member("b", [], quarantine, now_s=hours.now_s)
        a.receive(attempts=SUSPECT)
        await until(inside.is_set)
        waiting = b.receive(1)
        await passed(hours, 58.0)
        assert b.inside == []
        await passed(hours, 1.0)
        assert b.inside == ["b1"]
        assert not quarantine.is_on
        b.let_out()
        await b.bench.idle()
        assert waiting.answers == [("FIN",)]
        let_out.set()
        await a.idle()
        assert a.outcome == "lease_lost"

    async def test_a_suspect_does_not_wait_for_what_is_lost(
        self, hours: VirtualClock, let_out: threading.Event
    ) -> None:
        quarantine = Quarantine()
        inside = threading.Event()

        def hang(event: Happened, ctx: Context) -> None:
            inside.set()
            let_out.wait(PATIENCE_S)

        a = Bench(plain(hang, timeout_s=30.0), quarantine=quarantine, now_s=hours.now_s)
        b = Member("b", [], quarantine, now_s=hours.now_s)
        a.receive()
        await until(inside.is_set)
        b.receive(1, SUSPECT)
        await passed(hours, 58.0)
        assert b.inside == []
        await passed(hours, 1.0)
        assert b.inside == ["b1"]
        b.let_out()
        await b.bench.idle()
        assert not quarantine.is_on
        let_out.set()
        await a.idle()
