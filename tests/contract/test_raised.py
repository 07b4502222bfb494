"""Whatever a handler raises, its message has one outcome, and the worker goes on; on both engines."""

import asyncio
import contextlib

import pytest

from nsqkit import Context, DeadLetter, KillSwitch, RetryPolicy
from tests.contract.conftest import TOPIC, Engine
from tests.contract.work import QUICK, Asked, Seen, accounts, body, count, outcome, working, working_plainly


class CardRefusedError(Exception):
    """The message can never succeed."""


@pytest.mark.parametrize("kind", [GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("make", [working, working_plainly], ids=["async", "plain"])
async def test_what_is_no_exception_fails_its_message_like_any_error(
    engine: Engine, kind: type[BaseException], make: type
) -> None:
    seen = Seen()

    def raise_once(event: Asked, ctx: Context) -> None:
        seen(event, ctx)
        if event.n == 1 and ctx.attempts == 1:
            raise kind

    async with engine.worker(make(raise_once)) as worker:
        await engine.publish(TOPIC, body(1), body(2))
        await engine.handled(TOPIC, "work", 2)
        assert sorted(seen.calls) == [(1, 1), (1, 2), (2, 1)]
        assert count(worker, "messages_requeued_total", reason="error") == 1
        await accounts(engine, worker)


async def test_a_rule_for_an_error_holds_in_a_task_group_too(engine: Engine) -> None:
    async def refuse() -> None:
        raise CardRefusedError

    async def charge(event: Asked, ctx: Context) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())

    policy = RetryPolicy(QUICK.max_attempts, QUICK.backoff, on={CardRefusedError: DeadLetter("card refused")})
    async with engine.worker(working(charge, retry=policy)) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert outcome(worker, "requeue") == 0
        assert count(worker, "messages_dead_lettered_total", reason="rule") == 1
        assert count(worker, "handler_errors_total", error_type="CardRefusedError") == 1
        await accounts(engine, worker)


@pytest.mark.promise("late return")
async def test_what_a_handler_returns_after_its_timeout_counts_but_the_kill_switch_sees_a_timeout(
    engine: Engine,
) -> None:
    async def swallow(event: Asked, ctx: Context) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    switch = KillSwitch(min_messages=2, open_s=3600, max_open_s=3600)
    handler = working(swallow, timeout_s=0.05, kill_switch=switch, max_in_flight=2)
    async with engine.worker(handler) as worker:
        await engine.publish(TOPIC, body(1), body(2))
        await engine.handled(TOPIC, "work", 2)
        assert outcome(worker, "success") == 2, "its effect is done"
        assert count(worker, "kill_switch_state", state="open") == 1


@pytest.mark.promise("ignored cancellation")
async def test_a_handler_that_swallows_its_cancellation_and_waits_again_is_cancelled_again(
    engine: Engine,
) -> None:
    async def swallow(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    async with engine.worker(working(swallow, timeout_s=0.05)) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert count(worker, "messages_requeued_total", reason="timeout") == 1
        assert outcome(worker, "success") == 1
        await accounts(engine, worker)


@pytest.mark.promise("forgotten await")
@pytest.mark.parametrize("make", [working, working_plainly], ids=["async", "plain"])
async def test_a_handler_that_forgets_an_await_is_called_again(engine: Engine, make: type) -> None:
    async def save() -> None:
        """Never run."""

    def forget_once(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            save()  # type: ignore[unused-coroutine]

    async with engine.worker(make(forget_once)) as worker:
        await engine.publish(TOPIC, body(1))
        await engine.handled(TOPIC, "work", 1)
        assert count(worker, "messages_requeued_total", reason="error") == 1
        assert outcome(worker, "success") == 1
        await accounts(engine, worker)
