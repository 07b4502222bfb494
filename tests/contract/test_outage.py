"""An outage costs no message and no neighbour: hours in virtual time, and seconds over TCP."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count as numbers
from typing import Any

import pytest

from nsqkit import (
    BatchHandler,
    Breaker,
    Context,
    Delivery,
    Discard,
    Exponential,
    Handler,
    KillSwitch,
    Pause,
    RetryPolicy,
    Settings,
)
from nsqkit.policy.outage import MAX_REST_S
from nsqkit.testing import Harness
from tests.contract.conftest import TOPIC, Engine
from tests.contract.test_held import SUSPECT, cut
from tests.contract.work import QUICK, Asked, Seen, accounts, body, count, outcome, working, working_plainly
from tests.waiting import PATIENCE_S, until, until_blocking

HOUR_S = 3600.0
MAX_ATTEMPTS = 8
names = numbers()


class DownError(ConnectionError):
    """The dependency does not answer."""


class Dependency:
    """A dependency that is down until it is up again, and the handlers' ways of protecting it."""

    def __init__(self, open_s: float = 30.0) -> None:
        self.is_up = False
        self.most_calls = 0  # so many at a time succeed although it is down
        self.calls = self.running = 0
        self.done: Counter[int] = Counter()
        self.breaker = Breaker(f"outage {next(names)}", failures=3, open_s=open_s)
        self.open_s = open_s

    async def call(self, event: Asked, ctx: Context) -> None:
        await asyncio.sleep(0.01)  # the handler's work before the call
        self.calls += 1
        self.running += 1
        is_borne = self.running <= self.most_calls
        await asyncio.sleep(0.001)  # the way to the dependency
        self.running -= 1
        if not (self.is_up or is_borne):
            raise DownError("down")
        self.done[event.n] += 1

    async def call_through_breaker(self, event: Asked, ctx: Context) -> None:
        await asyncio.sleep(0.01)  # the handler's work before the call
        async with self.breaker:
            await self.call(event, ctx)

    def handler(
        self,
        way: str,
        max_attempts: int = MAX_ATTEMPTS,
        backoff: Exponential = QUICK.backoff,
        **options: Any,
    ) -> type[Handler[Asked]]:
        """Return a handler that calls the dependency in one of the three ways."""
        rules: dict[str, Any] = {"max_attempts": max_attempts, "backoff": backoff}
        behave = self.call
        match way:
            case "breaker":
                behave = self.call_through_breaker
            case "pause":
                rules["on"] = {DownError: Pause(self.open_s)}
            case "kill switch":
                options["kill_switch"] = KillSwitch(min_messages=1, open_s=self.open_s)
        settings: dict[str, Any] = {"max_in_flight": 50, "retry": RetryPolicy(**rules)} | options
        return working(behave, **settings)


WAYS = ("breaker", "pause", "kill switch")


@pytest.mark.promise("outage")
@pytest.mark.parametrize("hours", [1, 4])
@pytest.mark.parametrize("messages", [1, 5, 20, 200])
@pytest.mark.parametrize("way", WAYS)
async def test_an_outage_of_hours_costs_no_message(way: str, messages: int, hours: int) -> None:
    dependency = Dependency()
    async with Harness([dependency.handler(way)]) as h:
        for n in range(messages):
            await h.publish(Asked(n))
        h.clock.advance(hours * HOUR_S)
        await h.settle()
        held = min(messages, 50)
        # What is in flight when the outage begins fails once, and is given back once: nsqd lets nobody keep
        # a message for longer than 15 minutes.
        cycles = dependency.calls - held
        assert cycles > 4 * hours
        assert len(h.requeued()) <= 2 * held + 3 * cycles
        dependency.is_up = True
        await h.settle(through_delays=True)
        h.dead_lettered().never()
        assert dependency.done == dict.fromkeys(range(messages), 1)


@pytest.mark.promise("outage")
async def test_calls_that_fail_after_the_breaker_has_opened_use_up_no_attempt() -> None:
    dependency = Dependency()
    async with Harness([dependency.handler("breaker", max_attempts=2)]) as h:
        for n in range(50):
            await h.publish(Asked(n))
        await h.settle()
        assert dependency.calls == 50, "all of them were on their way"
        assert len(h.requeued(reason="error")) == 3, "those that opened it"
        dependency.is_up = True
        await h.settle(through_delays=True)
        assert dependency.done == dict.fromkeys(range(50), 1)


@pytest.mark.promise("outage")
async def test_a_message_that_comes_back_after_the_breakers_time_uses_up_no_attempt() -> None:
    """Its backoff is longer than the breaker's time, so the breaker refuses none of its calls."""
    dependency = Dependency(open_s=2.0)
    slow = Exponential(base_s=10.0, factor=1)
    async with Harness([dependency.handler("breaker", backoff=slow)]) as h:
        await h.publish(Asked(0))
        h.clock.advance(HOUR_S)
        await h.settle()
        h.dead_lettered().never()
        assert len(h.requeued(reason="error")) == 3, "the failures that opened it"
        assert dependency.calls > 3 + HOUR_S / MAX_REST_S, "a trial after each pause"
        dependency.is_up = True
        await h.settle(through_delays=True)
        h.dead_lettered().never()
        assert dependency.done == {0: 1}


@pytest.mark.promise("outage")
async def test_a_message_that_fails_its_dependency_by_itself_is_given_up() -> None:
    """Alone it is an outage. Each success of another message shows that it is not."""
    shop = Breaker("a message that brings it down", failures=3, open_s=2.0)

    async def call(event: Asked, ctx: Context) -> None:
        async with shop:
            if event.n == 0:
                raise DownError("this message brings it down")

    retry = RetryPolicy(max_attempts=MAX_ATTEMPTS, backoff=Exponential(base_s=10.0, factor=1))
    others = range(1, MAX_ATTEMPTS)
    async with Harness([working(call, retry=retry)]) as h:
        await h.publish(Asked(0))
        await h.settle()
        for n in others:
            h.clock.advance(MAX_REST_S)
            await h.settle()
            await h.publish(Asked(n))
        await h.settle(through_delays=True)
        assert {each.event.n for each in h.handled()} == set(others)
        h.dead_lettered(Asked(0), reason="exhausted").once()


@pytest.mark.promise("outage")
@pytest.mark.parametrize("way", ["pause", "kill switch"])  # a breaker costs those that open it an attempt
async def test_a_dependency_that_bears_one_call_at_a_time_costs_no_message(way: str) -> None:
    """A trial succeeds each time, and then everything fails."""
    dependency = Dependency()
    dependency.most_calls = 1
    async with Harness([dependency.handler(way)]) as h:
        for n in range(100):
            await h.publish(Asked(n))
        h.clock.advance(HOUR_S)
        await h.settle()
        h.dead_lettered().never()
        dependency.is_up = True
        await h.settle(through_delays=True)
        h.dead_lettered().never()
        assert len(h.handled()) == 100


@pytest.mark.promise("outage")
@pytest.mark.parametrize("way", WAYS)
async def test_no_message_of_an_outage_becomes_a_suspect_that_stops_another_handler(way: str) -> None:
    dependency, beside = Dependency(), Seen()
    async with Harness([dependency.handler(way), working(beside, "other")]) as h:
        await h.publish(Asked(0))
        for n in range(1, 49):
            h.clock.advance(300)
            await h.settle()
            await h.publish(Asked(n))
            await h.settle()
            assert beside.numbers == list(range(n + 1)), "at once"


@pytest.mark.promise("outage")
async def test_one_bad_message_does_not_keep_the_gate_shut() -> None:
    shop = Breaker("a bad message", failures=1, open_s=30.0)

    async def call(event: Asked, ctx: Context) -> None:
        async with shop:
            if event.n == 0:
                raise DownError("this message brings it down")

    async with Harness([working(call)]) as h:
        await h.publish(Asked(0))
        await h.settle()
        for n in range(1, 5):
            await h.publish(Asked(n))
        await h.settle(through_delays=True)
        assert {each.event.n for each in h.handled()} == {1, 2, 3, 4}
        h.dead_lettered(Asked(0), reason="exhausted").once()


@pytest.mark.promise("outage")
@pytest.mark.parametrize("way", WAYS)
async def test_an_outage_of_seconds_costs_no_message(engine: Engine, way: str) -> None:
    dependency = Dependency(open_s=0.1)
    handler = dependency.handler(way, max_attempts=3, max_in_flight=5)
    async with engine.worker(handler) as worker:
        await engine.publish(TOPIC, *map(body, range(12)))
        await until(lambda: dependency.calls >= 5 + 4)
        dependency.is_up = True
        await engine.handled(TOPIC, "work", 12)
        assert dependency.done == dict.fromkeys(range(12), 1)
        assert outcome(worker, "dead_letter") == 0
        await accounts(engine, worker)


@pytest.mark.promise("outage")
async def test_a_call_that_began_before_the_opening_decides_nothing(engine: Engine) -> None:
    early, trial = asyncio.Event(), asyncio.Event()
    seen = Seen()

    async def call(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        match event.n:
            case 0:
                await early.wait()
            case 1:
                raise DownError("down")
            case 2:
                await trial.wait()

    retry = RetryPolicy(on={DownError: Discard()})
    switch = KillSwitch(min_messages=1, open_s=0.2)
    async with engine.worker(working(call, kill_switch=switch, retry=retry)) as worker:
        await engine.publish(TOPIC, body(0))
        await until(lambda: seen.numbers == [0])
        await engine.publish(TOPIC, body(1))
        await until(lambda: count(worker, "kill_switch_state", state="open") == 1)
        await engine.publish(TOPIC, body(2), body(3))
        await until(lambda: seen.numbers == [0, 1, 2])  # the trial does not wait for the early call
        early.set()
        await until(lambda: outcome(worker, "success") == 1)
        assert count(worker, "kill_switch_state", state="half_open") == 1
        assert seen.numbers == [0, 1, 2]
        trial.set()
        await engine.handled(TOPIC, "work", 4)
        assert count(worker, "kill_switch_state", state="closed") == 1


@pytest.mark.promise("pause exhausts nothing")
async def test_a_pause_at_the_last_attempt_requeues(engine: Engine) -> None:
    seen = Seen()

    def pause_late(event: Asked, ctx: Context) -> Pause | None:
        seen(event, ctx)
        return Pause(0.1) if ctx.attempts == 1 else None

    once = RetryPolicy(max_attempts=1, backoff=QUICK.backoff)
    async with engine.worker(working(pause_late, retry=once)) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert seen.calls == [(1, 1), (1, 2)]
        assert count(worker, "messages_requeued_total", reason="paused") == 1
        assert outcome(worker, "success") == 1


@pytest.mark.promise("pause exhausts nothing")
async def test_a_pause_at_the_last_attempt_requeues_in_virtual_time() -> None:
    once = RetryPolicy(max_attempts=1)
    async with Harness([working(lambda _, ctx: Pause(60) if ctx.attempts < 3 else None, retry=once)]) as h:
        await h.publish(Asked(0))
        await h.settle(through_delays=True)
        h.requeued(delay_s=60, reason="paused").once()
        h.handled(Asked(0)).once()


# Slots that are lost


class Hung:
    """A plain handler whose first call hangs."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self.seen = Seen()

    def __call__(self, event: Asked, ctx: Context) -> None:
        self.seen(event, ctx)
        if event.n == 0:
            assert self.leave.wait(PATIENCE_S)
        if event.n == 1 and ctx.attempts == 1:
            raise DownError("down")


def hanging(hung: Callable[[Asked, Context], None], **options: Any) -> type[Handler[Asked]]:
    return working_plainly(hung, **{"timeout_s": 0.2, "threads": 2, "dead_letters": False} | options)


@pytest.mark.promise("slot lost")
@pytest.mark.parametrize("way", ["breaker", "kill switch"])
async def test_a_slot_whose_call_hangs_is_shown_and_blocks_no_trial(brief_engine: Engine, way: str) -> None:
    hung, engine = Hung(), brief_engine
    shop = Breaker(f"hung {next(names)}", failures=1, open_s=0.2)

    def call(event: Asked, ctx: Context) -> None:
        with shop:
            hung(event, ctx)

    options: dict[str, Any] = {"kill_switch": KillSwitch(min_messages=1, open_s=0.2)}
    handler = hanging(call) if way == "breaker" else hanging(hung, **options)
    async with engine.worker(handler, msg_timeout_s=1.0) as worker:
        await engine.publish(TOPIC, body(0))
        await until(lambda: "1 of 2 slots are lost" in " ".join(worker.problems()))
        (state,) = worker.handler_states()
        assert (state.lost_slots, state.max_in_flight) == (1, 1)
        assert count(worker, "lost_slots") == 1
        await engine.publish(TOPIC, body(1))
        await until(lambda: [n for n, _ in hung.seen.calls].count(1) == 2)
        await engine.publish(TOPIC, body(2))
        await until(lambda: 2 in hung.seen.numbers)
        hung.leave.set()
        await until(lambda: worker.problems() == ())
        await engine.handled(TOPIC, "work", 3)


@pytest.mark.promise("slot lost")
async def test_a_slot_whose_call_hangs_blocks_no_suspect_of_another_handler(brief_engine: Engine) -> None:
    hung, beside, engine = Hung(), Seen(), brief_engine
    await engine.publish(TOPIC, body(0))
    await engine.spend(TOPIC, "other", SUSPECT)
    handlers = hanging(hung, threads=1), working(beside, "other", timeout_s=1)
    async with engine.worker(*handlers, msg_timeout_s=1.0) as worker:
        await engine.handled(TOPIC, "other", 1)
        await engine.publish(TOPIC, body(2), body(3))
        await engine.handled(TOPIC, "other", 3)
        assert beside.numbers == [0, 2, 3]
        await until(lambda: "1 of 1 slots are lost" in " ".join(worker.problems()))
        await engine.until(TOPIC, "work", lambda stats: stats["in_flight_count"] <= 1)
        hung.leave.set()
        await engine.handled(TOPIC, "work", 3)


@pytest.mark.promise("slot lost")
async def test_a_slot_is_lost_while_its_call_outlives_the_lease() -> None:
    def outlast(event: Asked, ctx: Context) -> None:
        if event.n == 0 and ctx.attempts == 1:
            until_blocking(lambda: subscription.intake.lost_slots == 1)
            shown.extend(subscription.problems)

    shown: list[str] = []
    handler = working_plainly(outlast, timeout_s=0.2, threads=2)
    async with Harness([handler], settings=Settings(msg_timeout_s=1.0)) as h:
        (subscription,) = h._subscriptions
        await h.publish(Asked(0))
        await h.settle(through_delays=True)
        assert shown == ["Work (contract/work): 1 of 2 slots are lost: their handler calls do not end"]
        assert subscription.problems == ()


# What is lost does not start


@pytest.mark.promise("lost while waiting")
async def test_a_message_whose_connection_died_while_it_waited_does_not_start(engine: Engine) -> None:
    seen = Seen()

    def pause_all(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        if ctx.attempts == 1:
            worker.pause_handler("Work", None)

    async with engine.worker(working(pause_all), msg_timeout_s=1.0, rdy="fixed") as worker:
        await engine.publish(TOPIC, *map(body, range(5)))
        await until(lambda: count(worker, "messages_received_total") == 5)
        await engine.until(TOPIC, "work", lambda stats: stats["in_flight_count"] == 4)
        cut(worker)
        await until(lambda: outcome(worker, "lease_lost") == 4)
        worker.resume_handler("Work")
        await engine.handled(TOPIC, "work", 5)
        assert sorted(attempts for _, attempts in seen.calls) == [1, 2, 2, 2, 2], "each started once"
        await accounts(engine, worker, timeouts=4)


@pytest.mark.promise("lost while waiting")
async def test_a_message_whose_connection_dies_while_it_waits_does_not_start_and_loses_no_attempt() -> None:
    def pause_first_and_fail_once(event: Asked, ctx: Context) -> None:
        if event.n == 0:
            subscription.pause()
        elif ctx.attempts == 2:
            raise DownError("down")

    handler = working(pause_first_and_fail_once, retry=RetryPolicy(max_attempts=2))
    async with Harness([handler], settings=Settings(msg_timeout_s=10.0)) as h:
        (subscription,) = h._subscriptions
        for n in range(3):
            await h.publish(Asked(n))
        await h.settle()
        h.drop_connection()
        assert subscription.intake.held == 0
        subscription.resume()
        await h.settle(through_delays=True)
        h.dead_lettered().never()
        assert [each.attempts for each in h.handled()] == [1, 3, 3]


# Batches


def batching(handle: Callable[[int], Any], **options: Any) -> type[BatchHandler[Asked]]:
    class Work(BatchHandler[Asked], channel="work", max_messages=5, max_wait_s=1, retry=QUICK, **options):
        async def handle(self, batch: Sequence[Delivery[Asked]]) -> None:
            await handle(len(batch))

    return Work


@pytest.mark.promise("outage")
async def test_reruns_of_a_failed_batch_wait_while_the_kill_switch_is_open(engine: Engine) -> None:
    dependency = Dependency()
    calls: list[int] = []

    async def handle(messages: int) -> None:
        calls.append(messages)
        if not dependency.is_up:
            raise DownError("down")

    switch = KillSwitch(min_messages=3, open_s=0.5)
    async with engine.worker(batching(handle, kill_switch=switch), msg_timeout_s=10.0) as worker:
        await engine.publish(TOPIC, *map(body, range(5)))
        await until(lambda: count(worker, "kill_switch_state", state="open") == 1)
        assert calls == [5, 1, 1, 1], "three reruns opened it, and the other two wait"
        dependency.is_up = True
        await engine.handled(TOPIC, "work", 5)
        assert count(worker, "messages_requeued_total", reason="error") == 3
        assert outcome(worker, "success") == 5


@pytest.mark.promise("outage")
async def test_a_batch_that_a_breaker_refuses_is_not_rerun() -> None:
    shop = Breaker(f"batch {next(names)}", failures=1, open_s=20)
    calls: list[int] = []

    async def handle(messages: int) -> None:
        calls.append(messages)
        async with shop:
            if len(calls) < 2:
                raise DownError("down")

    async with Harness([batching(handle)]) as h:
        for n in range(5):
            await h.publish(Asked(n))
        await h.settle()
        assert calls == [5, 1], "the first rerun is refused, and the others wait"
        await h.settle(through_delays=True)
        assert len(h.handled()) == 5


@pytest.mark.promise("slot lost")
async def test_a_batch_call_that_hangs_leaves_no_room_and_its_worker_takes_nothing_in() -> None:
    leave = asyncio.Event()
    calls: list[int] = []

    async def handle(messages: int) -> None:
        calls.append(messages)
        while not leave.is_set():
            with suppress(asyncio.CancelledError):
                await leave.wait()

    handler = batching(handle, timeout_s=5)
    async with Harness([handler], settings=Settings(msg_timeout_s=20.0)) as h:
        (subscription,) = h._subscriptions
        for n in range(2):
            await h.publish(Asked(n))
        h.clock.advance(100)
        await h.settle()
        lost = subscription.intake.lost_slots
        await h.publish(Asked(2))
        await h.settle()
        held = subscription.intake.held
        leave.set()  # before anything can fail, since the handler ignores its cancellation
        assert (lost, held) == (2, 2), "the third stays in nsqd, for another worker"
        assert calls == [2]
        await h.settle(through_delays=True)
        assert len(h.handled(Asked(2))) == 1
