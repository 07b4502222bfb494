"""What happens to one message, on the harness's ledger and its clock: the same rows as on nsqd."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import pytest

from nsqkit import (
    Breaker,
    Context,
    DeadLetter,
    Discard,
    Exponential,
    Finish,
    Handler,
    KillSwitch,
    Outcome,
    Pause,
    Requeue,
    RetryPolicy,
    Settings,
    event,
)
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import Limits
from nsqkit.policy.verdict import CRASH_SLACK
from nsqkit.testing import Harness
from tests.waiting import turns, until_blocking

RETRY = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=5, factor=2, max_s=60))
ONCE = RetryPolicy(max_attempts=1)


@event("ledger.asked", version=1, topic="ledger")
@dataclass(frozen=True)
class Asked:
    n: int = 0


Behave = Callable[[Asked, Context], Any]


def working(behave: Behave, channel: str = "work", **options: Any) -> type[Handler[Asked]]:
    """Return a handler class that does as it is told."""

    class Work(Handler[Asked], channel=channel, name=channel.title(), **({"retry": RETRY} | options)):
        async def handle(self, event: Asked, ctx: Context) -> Outcome | None:
            outcome: Any = behave(event, ctx)
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
            return cast("Outcome | None", outcome)

    return Work


def failing(until_attempts: int) -> Behave:
    """Return what fails in its first deliveries."""

    def behave(event: Asked, ctx: Context) -> None:
        if ctx.attempts < until_attempts:
            raise ConnectionError("no answer")

    return behave


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message can be held for longer than 100 s."""
    limits = Limits(max_msg_timeout_s=100.0)
    monkeypatch.setattr("nsqkit.testing.ledger_broker.Ledger", partial(Ledger, limits))


@pytest.mark.promise("returned")
async def test_what_returns_is_handled() -> None:
    async with Harness([working(lambda _, ctx: None)]) as h:
        await h.publish(Asked())
        await h.settle()
        assert h.handled().once().attempts == 1


@pytest.mark.promise("raised")
async def test_what_raises_comes_back_after_its_backoff() -> None:
    async with Harness([working(failing(3))]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        assert [each.delay_s for each in h.requeued(reason="error")] == [5, 10]
        assert (h.handled().once().at_s, h.handled().once().attempts) == (15, 3)


@pytest.mark.promise("outcome")
@pytest.mark.parametrize("outcome", [Finish(), Requeue(7), DeadLetter("x"), Discard("x"), Pause(7)])
async def test_what_a_handler_says_is_done(outcome: Outcome) -> None:
    async with Harness([working(lambda _, ctx: outcome if ctx.attempts == 1 else None)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        match outcome:
            case Finish():
                assert h.handled().once().attempts == 1
            case Requeue():
                h.requeued(delay_s=7, reason="requested").once()
            case DeadLetter():
                h.dead_lettered(reason="requested").once()
            case Discard():
                h.discarded().once()
            case Pause():
                h.requeued(delay_s=7, reason="paused").once()


@pytest.mark.promise("exhausted")
async def test_what_fails_to_the_end_is_a_dead_letter() -> None:
    async with Harness([working(failing(99))]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        assert h.dead_lettered(reason="exhausted").once().attempts == 3


@pytest.mark.promise("undecodable")
async def test_what_is_no_event_is_a_dead_letter_at_once() -> None:
    async with Harness([working(lambda _, ctx: None)]) as h:
        await h.publish_raw("ledger", b"nonsense")
        await h.settle()
        h.dead_lettered(reason="undecodable").once()


@pytest.mark.promise("unknown type")
@pytest.mark.parametrize("choice", ["requeue", "discard", "dead_letter"])
async def test_an_unknown_type_goes_the_way_that_was_chosen(choice: str) -> None:
    envelope = {"specversion": "1.0", "type": "ledger.asked.v9", "source": "s", "id": "1", "data": {}}
    async with Harness([working(lambda _, ctx: None, on_unknown=choice)]) as h:
        await h.publish_raw("ledger", json.dumps(envelope).encode())
        await h.settle(through_delays=True)
        if choice == "discard":
            h.discarded().once()
        else:
            h.requeued(delay_s=30, reason="unknown_type").times(2 if choice == "requeue" else 0)
            h.dead_lettered(reason="unknown_type").once()


@pytest.mark.promise("quarantine")
async def test_what_left_no_outcome_runs_alone() -> None:
    running: list[str] = []

    async def run(name: str, ctx: Context) -> None:
        if (name, ctx.attempts) == ("work", 2):
            await turns()
            assert running == []
        running.append(name)
        if (name, ctx.attempts) == ("work", 1):
            h.drop_connection()
        await asyncio.sleep(10)  # the handler's work, in virtual time
        running.remove(name)
        assert "work" not in running

    work = working(lambda _, ctx: run("work", ctx), retry=ONCE)
    other = working(lambda _, ctx: run("other", ctx), "other", retry=RETRY)
    async with Harness([work, other]) as h:
        await h.publish(Asked())
        h.clock.advance(59)
        await h.settle()
        await h.publish(Asked(1))
        await h.settle(through_delays=True)
        h.dead_lettered().never()
        assert [each.attempts for each in h.handled(Asked(), by=work)] == [2]


@pytest.mark.promise("crash suspect")
async def test_what_never_left_an_outcome_is_a_dead_letter() -> None:
    async with Harness([working(lambda _, ctx: h.drop_connection(), retry=ONCE)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        h.lost().times(1 + CRASH_SLACK)
        assert h.dead_lettered(reason="crash_suspect").once().attempts == 2 + CRASH_SLACK


@pytest.mark.promise("expired")
@pytest.mark.parametrize("choice", ["dead_letter", "discard"])
async def test_what_is_too_old_is_not_handled(choice: str) -> None:
    async with Harness([working(lambda _, ctx: None, max_age_s=60, on_expired=choice)]) as h:
        await h.publish(Asked(), defer_s=61)
        await h.settle(through_delays=True)
        (h.discarded() if choice == "discard" else h.dead_lettered(reason="expired")).once()


@pytest.mark.promise("timeout")
async def test_what_takes_longer_than_its_timeout_is_cancelled() -> None:
    # The handler's work, in virtual time.
    async with Harness([working(lambda _, ctx: asyncio.sleep(100 if ctx.attempts == 1 else 1))]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        assert h.requeued(reason="timeout").once().at_s == 30
        h.handled().once()


@pytest.mark.promise("late return")
async def test_what_a_handler_returns_after_its_timeout_counts() -> None:
    async def swallow(event: Asked, ctx: Context) -> Outcome:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Discard("late")

    async with Harness([working(swallow)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        h.discarded().once()
        assert h.clock.elapsed_s == 30


@pytest.mark.promise("ignored cancellation")
async def test_a_handler_that_waits_on_after_its_cancellation_is_cancelled_again() -> None:
    async def swallow(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            for _ in range(3):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
            await asyncio.Event().wait()

    async with Harness([working(swallow)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        assert h.requeued(reason="timeout").once().at_s == 30 + 1 + 2 + 4
        h.handled().once()


@pytest.mark.promise("forgotten await")
async def test_a_handler_that_forgets_an_await_is_called_again() -> None:
    async def save() -> None:
        """Never run."""

    def forget_once(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            save()  # type: ignore[unused-coroutine]

    async with Harness([working(forget_once)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        h.requeued(reason="error").once()
        h.handled().once()


@pytest.mark.promise("plain timeout")
async def test_a_plain_handler_is_told_and_settled_when_it_returns() -> None:
    class Work(Handler[Asked], channel="work", timeout_s=0.05):
        def handle(self, event: Asked, ctx: Context) -> None:
            until_blocking(lambda: ctx.cancelled)

    async with Harness([Work]) as h:
        await h.publish(Asked())
        await h.settle()
        h.handled().once()


@pytest.mark.promise("kept by touch")
async def test_what_takes_longer_than_nsqds_timeout_is_kept() -> None:
    # The handler's work, in virtual time.
    async with Harness([working(lambda _, ctx: asyncio.sleep(800), timeout_s=880)]) as h:
        await h.publish(Asked())
        await h.settle()
        assert (h.handled().once().at_s, h.handled().once().attempts) == (800, 1)
        h.lost().never()


@pytest.mark.promise("lease lost")
@pytest.mark.usefixtures("brief")
async def test_what_takes_longer_than_nsqds_longest_lease_is_lost() -> None:
    async def outlast(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            await asyncio.sleep(99.5)  # the handler's work, in virtual time
            assert ctx.lease_lost
            raise ConnectionError("late")

    async with Harness([working(outlast, timeout_s=300)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        assert h.lost().once().at_s == 99.5
        assert (h.handled().once().at_s, h.handled().once().attempts) == (100, 2)


@pytest.mark.promise("redelivered")
@pytest.mark.usefixtures("brief")
async def test_what_comes_again_while_it_is_held_waits_and_is_a_duplicate() -> None:
    # The handler's work, in virtual time.
    async with Harness([working(lambda _, ctx: asyncio.sleep(150), timeout_s=300)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        assert h.lost().once().at_s == 150
        h.handled().never()
        assert h.history().count("delivered to Work") == 2
        assert "duplicate" in h.history()


@pytest.mark.promise("connection lost")
async def test_what_ran_when_its_connection_died_is_lost_and_comes_again() -> None:
    async def lose(event: Asked, ctx: Context) -> None:
        if ctx.attempts == 1:
            h.drop_connection()
            assert ctx.lease_lost

    async with Harness([working(lose)]) as h:
        await h.publish(Asked())
        await h.settle(through_delays=True)
        h.lost().once()
        assert h.handled().once().at_s == 60


@pytest.mark.promise("kept waiting")
async def test_what_is_held_in_a_pause_starts_afterwards_at_no_cost() -> None:
    async with Harness(
        [working(lambda event, ctx: Pause(500) if event.n + ctx.attempts == 1 else None)]
    ) as h:
        for n in range(3):
            await h.publish(Asked(n))
        await h.settle(through_delays=True)
        assert {(each.at_s, each.attempts) for each in h.handled(Asked(1))} == {(500, 1)}
        assert h.handled(Asked(0)).once().attempts == 2


@pytest.mark.promise("kept waiting")
async def test_a_kill_switch_keeps_what_is_held_and_tries_it_first() -> None:
    def be_down(event: Asked, ctx: Context) -> None:
        if h.clock.elapsed_s < 50:
            raise ConnectionError("down")

    switch = KillSwitch(min_messages=2, open_s=20)
    async with Harness([working(be_down, kill_switch=switch, retry=RetryPolicy(max_attempts=9))]) as h:
        for n in range(4):
            await h.publish(Asked(n))
        await h.settle(through_delays=True)
        at_s = [(each.at_s, each.attempts) for each in h.requeued(reason="error")]
        assert at_s == [(0, 1), (0, 1)], "two opened it; the one that was tried is kept"
        assert {each.at_s for each in h.handled()} == {60}, "it was open for twice as long then"


@pytest.mark.promise("breaker open")
async def test_an_open_breaker_rests_the_intake_and_its_message() -> None:
    shop = Breaker("ledger shop", failures=1, open_s=40.0)

    async def call(event: Asked, ctx: Context) -> None:
        async with shop:
            if h.clock.elapsed_s < 40:
                raise ConnectionError("down")

    async with Harness([working(call)]) as h:
        for n in range(3):
            await h.publish(Asked(n))
        await h.settle(through_delays=True)
        refused = h.requeued(reason="breaker_open").once()
        assert (refused.at_s, refused.delay_s) == (0, 40)
        assert {each.at_s for each in h.handled()} == {40}


@pytest.mark.promise("drain")
async def test_a_stop_lets_the_running_end_and_gives_the_rest_back() -> None:
    started = asyncio.Semaphore(0)

    async def work(event: Asked, ctx: Context) -> None:
        started.release()
        await asyncio.sleep(10 if event.n == 0 else 25)  # the handler's work, in virtual time

    handler = working(work, max_in_flight=2, timeout_s=60)
    async with Harness([handler], settings=Settings(grace_s=20)) as h:
        await h.publish(Asked(0))
        await h.publish(Asked(1))
        await started.acquire()
        await started.acquire()
    assert h.handled().once().event == Asked(0)
    given_back = h.requeued(delay_s=0, reason="shutdown").once()
    assert (given_back.event, given_back.at_s) == (Asked(1), 20), "it did not end in the time of grace"
