"""What happens to a message that is held for long, that cannot run, or must not: on both engines over TCP."""

import asyncio
import threading
import time
from typing import Any

import pytest

from nsqkit import Breaker, Context, Discard, Finish, KillSwitch, Outcome, Pause, RetryPolicy, Worker
from nsqkit.policy.verdict import CRASH_SLACK
from tests.contract.conftest import BRIEF_S, TOPIC, Engine
from tests.contract.work import (
    QUICK,
    Asked,
    Seen,
    accounts,
    body,
    count,
    outcome,
    working,
    working_plainly,
)
from tests.waiting import PATIENCE_S, until, until_blocking

SUSPECT = QUICK.max_attempts
"""So many deliveries without an outcome make a suspect of the next one."""


class Hold:
    """A handler that holds what it has until it is let go."""

    def __init__(self) -> None:
        self.inside = asyncio.Event()
        self.leave = asyncio.Event()
        self.calls: list[tuple[int, int]] = []
        self.lost: list[bool] = []

    async def __call__(self, event: Asked, ctx: Context) -> None:
        self.calls.append((event.n, ctx.attempts))
        self.inside.set()
        await self.leave.wait()
        self.lost.append(ctx.lease_lost)


async def entered(hold: Hold) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await hold.inside.wait()


def cut(worker: Worker) -> None:
    """Break all connections to nsqd, as a network does."""
    for subscription in worker._subscriptions:
        consumer: Any = subscription.consumer
        for connection in tuple(consumer._keepers.live.values()):
            connection._stream.socket.shutdown(2)


# Held


@pytest.mark.promise("kept by touch")
async def test_what_takes_longer_than_nsqds_timeout_is_kept_by_touch(engine: Engine) -> None:
    seen = Seen()

    async def slow(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        await asyncio.sleep(2.5)  # the handler's work, which outlasts nsqd's timeout

    async with engine.worker(working(slow, timeout_s=5), msg_timeout_s=1.0) as worker:
        await engine.publish(TOPIC, *map(body, range(3)))
        await engine.handled(TOPIC, "work", 3)
        assert sorted(seen.calls) == [(0, 1), (1, 1), (2, 1)]
        await accounts(engine, worker)


@pytest.mark.promise("lease lost")
async def test_what_runs_up_to_nsqds_longest_lease_is_lost_and_comes_again(brief_engine: Engine) -> None:
    engine = brief_engine
    seen = Seen()

    async def outlast(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        if ctx.attempts == 1:
            await until(lambda: ctx.lease_lost)

    async with engine.worker(working(outlast, timeout_s=BRIEF_S), msg_timeout_s=1.0) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert seen.calls == [(1, 1), (1, 2)]
        assert [outcome(worker, name) for name in ("lease_lost", "success")] == [1, 1]
        await accounts(engine, worker, timeouts=1)


@pytest.mark.promise("redelivered")
async def test_a_message_that_comes_again_while_it_is_held_waits_and_is_a_duplicate(engine: Engine) -> None:
    leave = threading.Event()
    seen = Seen()

    def outlast(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        assert leave.wait(PATIENCE_S)

    handler = working_plainly(outlast, timeout_s=0.5, threads=4)
    async with engine.worker(handler, msg_timeout_s=1.0, rdy="fixed") as worker:
        await engine.publish(TOPIC, body(1))
        await until(lambda: count(worker, "messages_received_total") == 2)
        leave.set()
        await engine.handled(TOPIC, "work", 1)
        assert seen.calls == [(1, 1)], "once"
        assert [outcome(worker, name) for name in ("lease_lost", "duplicate")] == [1, 1]
        await accounts(engine, worker, timeouts=1)


@pytest.mark.promise("redelivered")
async def test_a_message_that_comes_again_runs_if_its_earlier_delivery_fails(engine: Engine) -> None:
    leave = threading.Event()
    seen = Seen()

    def fail_late(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        if ctx.attempts == 1:
            assert leave.wait(PATIENCE_S)
            raise ConnectionError("late")

    handler = working_plainly(fail_late, timeout_s=0.5, threads=4)
    async with engine.worker(handler, msg_timeout_s=1.0, rdy="fixed") as worker:
        await engine.publish(TOPIC, body(1))
        await until(lambda: count(worker, "messages_received_total") == 2)
        assert seen.calls == [(1, 1)], "not beside it"
        leave.set()
        await engine.handled(TOPIC, "work", 1)
        assert seen.calls == [(1, 1), (1, 2)]
        assert [outcome(worker, name) for name in ("lease_lost", "success")] == [1, 1]
        await accounts(engine, worker, timeouts=1)


@pytest.mark.promise("connection lost")
async def test_what_ran_when_its_connection_died_is_lost_and_comes_again(engine: Engine) -> None:
    hold = Hold()
    async with engine.worker(working(hold), msg_timeout_s=1.0) as worker:
        await engine.publish(TOPIC, body(1))
        await entered(hold)
        cut(worker)
        await until(lambda: bool(worker.problems()))
        hold.leave.set()
        await engine.handled(TOPIC, "work", 1)
        assert hold.calls == [(1, 1), (1, 2)]
        assert hold.lost == [True, False]
        assert [outcome(worker, name) for name in ("lease_lost", "success")] == [1, 1]
        await accounts(engine, worker, timeouts=1)


@pytest.mark.promise("plain timeout")
async def test_a_plain_handler_past_its_timeout_is_told_and_settled_when_it_returns(engine: Engine) -> None:
    seen = Seen()

    def mind(event: Asked, ctx: Context) -> Outcome:
        seen(event, ctx)
        until_blocking(lambda: ctx.cancelled)
        return Finish()

    async with engine.worker(working_plainly(mind, timeout_s=0.2, threads=1)) as worker:
        await engine.publish(TOPIC, body(1), body(2))
        await engine.handled(TOPIC, "work", 2)
        assert sorted(seen.calls) == [(1, 1), (2, 1)]
        assert outcome(worker, "success") == 2
        await accounts(engine, worker)


# Not to be run, or alone


@pytest.mark.promise("expired")
async def test_what_is_too_old_is_not_handled(engine: Engine) -> None:
    seen = Seen()
    await engine.publish(TOPIC, body(1))
    await asyncio.sleep(0.1)  # its age is the case
    async with engine.worker(working(seen, max_age_s=0.05)) as worker:
        await engine.handled(TOPIC, "work", 1)
        assert seen.calls == []
        assert count(worker, "messages_dead_lettered_total", reason="expired") == 1


@pytest.mark.promise("quarantine")
async def test_a_message_whose_deliveries_left_no_outcome_runs_alone_in_its_worker(engine: Engine) -> None:
    hold, beside = Hold(), Seen()
    await engine.publish(TOPIC, body(1))
    await engine.spend(TOPIC, "work", SUSPECT)
    async with engine.worker(working(hold), working(beside, "other")) as worker:
        await entered(hold)
        assert hold.calls == [(1, SUSPECT + 1)]
        before = len(beside.calls)  # its copy of the message came first, or waits as well
        await engine.publish(TOPIC, *map(body, range(2, 5)))
        await engine.until(TOPIC, "other", lambda stats: stats["message_count"] == 4)
        await engine.until(TOPIC, "work", lambda stats: stats["message_count"] == 4)
        assert len(beside.calls) == before
        assert len(hold.calls) == 1
        hold.leave.set()
        await engine.handled(TOPIC, "work", 4)
        await engine.handled(TOPIC, "other", 4)
        assert beside.numbers == [1, 2, 3, 4]
        assert outcome(worker, "success") == 4


@pytest.mark.promise("crash suspect")
async def test_a_message_that_never_left_an_outcome_is_a_dead_letter_before_it_is_decoded(
    engine: Engine,
) -> None:
    await engine.publish(TOPIC, b"nonsense")
    await engine.spend(TOPIC, "work", SUSPECT + CRASH_SLACK)
    async with engine.worker(working(Seen())) as worker:
        await engine.handled(TOPIC, "work", 1)
        assert count(worker, "messages_dead_lettered_total", reason="crash_suspect") == 1
    (message,) = await engine.read(f"{TOPIC}.work.dead", "dead", 1)
    assert b"it may crash its process" in message.body


# Kept waiting


@pytest.mark.promise("kept waiting")
async def test_what_is_held_when_the_intake_is_paused_starts_afterwards_at_no_cost(engine: Engine) -> None:
    seen = Seen()
    paused_s: list[float] = []

    def pause_once(event: Asked, ctx: Context) -> Outcome | None:
        seen(event, ctx)
        if not paused_s:
            paused_s.append(time.monotonic())
            return Pause(1.5)
        assert time.monotonic() >= paused_s[0] + 1.5
        return None

    settings: dict[str, Any] = {"msg_timeout_s": 1.0, "rdy": "fixed"}
    await engine.publish(TOPIC, *map(body, range(5)))
    async with engine.worker(working(pause_once), **settings) as worker:
        await until(lambda: count(worker, "intake_paused") == 1)
        await engine.handled(TOPIC, "work", 5)
        assert seen.numbers == sorted([*range(5), seen.calls[0][0]])
        assert [attempts for _, attempts in seen.calls].count(2) == 1, "the one that paused"
        assert count(worker, "messages_requeued_total", reason="paused") == 1
        await accounts(engine, worker)


@pytest.mark.promise("kept waiting")
async def test_what_is_held_in_a_pause_that_lasts_is_given_back_at_the_cap(brief_engine: Engine) -> None:
    engine, seen = brief_engine, Seen()

    def pause_all(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        worker.pause_handler("Work", None)

    settings: dict[str, Any] = {"msg_timeout_s": 1.0, "max_requeue_delay_s": 0.1, "rdy": "fixed"}
    async with engine.worker(working(pause_all, timeout_s=1), **settings) as worker:
        await engine.publish(TOPIC, body(1), body(2))
        await until(lambda: count(worker, "messages_requeued_total", reason="paused") == 1)
        assert len(seen.calls) == 1
        await engine.until(TOPIC, "work", lambda stats: stats["depth"] == 1)
        worker.resume_handler("Work")
        await engine.handled(TOPIC, "work", 2)
        assert sorted(attempts for _, attempts in seen.calls) == [1, 2]
        await accounts(engine, worker)


@pytest.mark.promise("kept waiting")
async def test_a_kill_switch_opens_is_tried_one_by_one_and_closes(engine: Engine) -> None:
    """What does not reach the handler is no trial, and another one comes for it."""
    seen = Seen()

    def be_down_at_first(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        if event.n < 5:
            raise ConnectionError("the shop is down")

    def state(name: str) -> int:
        return count(worker, "kill_switch_state", state=name)

    switch = KillSwitch(failure_ratio=0.5, min_messages=4, open_s=1.0, trials=2)
    retry = RetryPolicy(on={ConnectionError: Discard()})
    async with engine.worker(working(be_down_at_first, kill_switch=switch, retry=retry)) as worker:
        assert state("closed") == 1
        await engine.publish(TOPIC, *map(body, range(4)))
        await until(lambda: state("open") == 1)
        assert count(worker, "intake_paused") == 1
        await engine.publish(TOPIC, body(4))
        await until(lambda: outcome(worker, "discard") == 5)
        await until(lambda: state("half_open") == 1)  # the first trial failed, and the next one is due
        await engine.publish(TOPIC, b"nonsense")
        await engine.handled(TOPIC, "work", 6)
        assert state("half_open") == 1
        await engine.publish(TOPIC, *map(body, range(5, 10)))
        await engine.handled(TOPIC, "work", 11)
        assert state("closed") == 1
        assert outcome(worker, "success") == 5
        await accounts(engine, worker)


@pytest.mark.promise("breaker open")
async def test_a_breaker_that_is_open_rests_the_intake_and_the_messages(engine: Engine) -> None:
    shop = Breaker("contract shop", failures=1, open_s=0.5)
    failed_s: list[float] = []

    async def call(event: Asked, ctx: Context) -> None:
        async with shop:
            if not failed_s:
                failed_s.append(time.monotonic())
                raise ConnectionError("the shop is down")
            assert time.monotonic() >= failed_s[0] + 0.5

    await engine.publish(TOPIC, *map(body, range(4)))
    async with engine.worker(working(call), rdy="fixed") as worker:
        await until(lambda: count(worker, "messages_requeued_total", reason="breaker_open") >= 1)
        await engine.handled(TOPIC, "work", 4)
        assert outcome(worker, "success") == 4
        assert count(worker, "messages_requeued_total", reason="error") == 1
        await accounts(engine, worker)
