"""The harness on the ledger: what a team's test does, and what it sees."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from nsqkit import (
    Breaker,
    Context,
    CreationError,
    Discard,
    EncodeError,
    EventError,
    Exponential,
    Handler,
    HandlerError,
    Next,
    Outcome,
    Pause,
    PublishError,
    Requeue,
    RetryPolicy,
    Settings,
)
from nsqkit.testing import Harness, HarnessError
from nsqkit.testing.found import HistoryError
from tests.unit.testing.shop import OPENED, RETRY, Charge, Charged, Gateway, Notify, Ordered

ORDER = Ordered("o-1")


def acting(behave: Callable[[Context], Outcome | None], **options: Any) -> type[Handler[Ordered]]:
    """Return a handler class that does as it is told."""

    class Acts(Handler[Ordered], channel="acts", **options):
        async def handle(self, event: Ordered, ctx: Context) -> Outcome | None:
            return behave(ctx)

    return Acts


class TestOutcomes:
    async def test_a_following_event_is_handled_too(self) -> None:
        gateway = Gateway()
        async with Harness([Charge, Notify], resources={Gateway: gateway}) as h:
            await h.publish(ORDER)
            await h.settle()
            h.handled(ORDER, by=Charge).once()
            h.published(Charged("o-1"), by=Charge, topic="charges").once()
            h.handled(Charged, by=Notify).once()
        assert gateway.asked == ["o-1"]

    async def test_a_handler_may_publish_what_is_no_event(self) -> None:
        kind = acting(lambda ctx: ctx.publish_raw("others", b"\0 no JSON"))
        async with Harness([kind]) as h:
            await h.publish(ORDER)
            await h.settle()
            h.handled(ORDER).once()
            h.published(Charged).never()
            assert "published bytes to others" in h.history()

    @pytest.mark.parametrize(
        "options", [{"run_on_loop": True}, {"threads": 1}], ids=["on the loop", "in a thread"]
    )
    async def test_a_breaker_in_a_plain_handler_follows_the_clock(self, options: dict[str, Any]) -> None:
        breaker = Breaker("gateway", failures=1, open_s=600)
        failures = [ConnectionError("no answer")]

        class Plain(Handler[Ordered], channel="plain", retry=RETRY, **options):
            def handle(self, event: Ordered, ctx: Context) -> None:
                with breaker:
                    if failures:
                        raise failures.pop()

        async with Harness([Plain]) as h:
            await h.publish(ORDER)
            await h.settle(through_delays=True)
            h.requeued(ORDER, reason="error").once()
            (refused,) = h.requeued(ORDER, reason="breaker_open")
            assert refused.delay_s == pytest.approx(540)
            assert h.handled(ORDER).once().attempts == 3

    async def test_retries_are_played_out_at_their_times(self) -> None:
        gateway = Gateway(*[ConnectionError("no answer")] * 3)
        async with Harness([Charge], resources={Gateway: gateway}) as h:
            await h.publish(ORDER)
            await h.settle(through_delays=True)
            assert [each.delay_s for each in h.requeued(ORDER, reason="error")] == [60, 120, 240]
            assert h.handled(ORDER).once().attempts == 4
            assert h.clock.elapsed_s == 420

    async def test_settling_alone_lets_no_time_pass(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway(ConnectionError())}) as h:
            await h.publish(ORDER)
            await h.settle()
            h.requeued(ORDER, delay_s=60).once()
            h.clock.advance(59.999)
            await h.settle()
            h.handled(ORDER).never()
            h.clock.advance(0.001)
            await h.settle()
            h.handled(ORDER).once()

    async def test_what_falls_due_while_time_passes_happens_at_its_time(self) -> None:
        gateway = Gateway(*[ConnectionError()] * 3)
        async with Harness([Charge], resources={Gateway: gateway}) as h:
            await h.publish(ORDER)
            h.clock.advance(200)
            await h.settle()
            assert [each.at_s for each in h.requeued()] == [0, 60, 180]
            assert h.clock.elapsed_s == 200

    async def test_a_handler_that_hangs_times_out_at_once(self) -> None:
        gateway = Gateway()
        gateway.hangs = True
        async with Harness([Charge], resources={Gateway: gateway}) as h:
            await h.publish(ORDER)
            await h.settle()
            assert h.requeued(ORDER, reason="timeout", delay_s=60).once().at_s == 10

    async def test_an_exhausted_message_is_a_dead_letter(self) -> None:
        gateway = Gateway(*[ConnectionError("no answer")] * 4)
        async with Harness([Charge], resources={Gateway: gateway}) as h:
            await h.publish(ORDER)
            await h.settle(through_delays=True)
            dead = h.dead_lettered(ORDER, reason="exhausted").once()
            h.published(Charged).never()
        assert (dead.attempts, dead.detail) == (4, "ConnectionError: no answer")
        assert isinstance(dead.error, ConnectionError)

    async def test_a_rule_is_a_dead_letter_at_once(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway(KeyError("p-1"))}) as h:
            await h.publish(ORDER)
            await h.settle()
            assert h.dead_lettered(reason="rule").once().detail == "unknown product"

    async def test_bodies_are_really_decoded(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            await h.publish_raw("placed", b'{"order_id": 5}')
            await h.publish_raw("placed", b'{"order_id": "bare"}')
            await h.settle()
            assert h.dead_lettered(reason="undecodable").once().event is None
            assert h.handled().once().event == Ordered("bare")

    async def test_a_discard(self) -> None:
        async with Harness([acting(lambda _: Discard("not ours"))]) as h:
            await h.publish(ORDER)
            await h.settle()
            assert h.discarded(ORDER).once().detail == "not ours"

    async def test_a_requeue_that_was_asked_for(self) -> None:
        async with Harness([acting(lambda ctx: Requeue(1.5) if ctx.attempts == 1 else None)]) as h:
            await h.publish(ORDER)
            await h.settle(through_delays=True)
            h.requeued(ORDER, delay_s=1.5, reason="requested").once()
            h.handled(ORDER).once()

    async def test_a_pause_rests_the_intake_as_long(self) -> None:
        async with Harness([acting(lambda ctx: Pause(60) if ctx.attempts == 1 else None)]) as h:
            await h.publish(ORDER)
            await h.settle()
            await h.publish(Ordered("o-2"))
            await h.settle()
            h.handled().never()
            await h.settle(through_delays=True)
            assert {each.at_s for each in h.handled()} == {120.0}, "the pause of o-2 keeps o-1 as well"

    async def test_what_is_held_during_a_pause_waits_with_it(self) -> None:
        async with Harness([acting(lambda ctx: Pause(60) if ctx.attempts == 1 else None)]) as h:
            for n in range(3):
                await h.publish(Ordered(f"o-{n}"))
            await h.settle()
            assert h.clock.elapsed_s == 0
            h.requeued(reason="paused").once()
            h.clock.advance(59)
            await h.settle()
            h.handled().never()
            await h.settle(through_delays=True)
            assert len(h.handled()) == 3

    async def test_a_pause_is_played_out_even_if_nothing_is_deferred(self) -> None:
        async with Harness([acting(lambda _: None)]) as h:
            h._subscriptions[0].pause(60)
            await h.publish(Ordered("o-2"))
            await h.settle(through_delays=True)
            assert h.handled(Ordered("o-2")).once().at_s == 60

    async def test_a_deferred_event_comes_when_it_is_due(self) -> None:
        async with Harness([acting(lambda _: None)]) as h:
            await h.publish(ORDER, defer_s=300)
            await h.settle()
            h.handled().never()
            await h.settle(through_delays=True)
            assert h.handled().once().at_s == 300

    async def test_a_message_too_old_is_expired(self) -> None:
        async with Harness([acting(lambda _: None, max_age_s=60)]) as h:
            await h.publish(ORDER, defer_s=61)
            await h.settle(through_delays=True)
            h.dead_lettered(reason="expired").once()

    async def test_the_retry_topic_is_read(self) -> None:
        async with Harness([acting(lambda _: None)]) as h:
            await h.publish(ORDER, topic="placed.acts.retry")
            await h.settle()
            h.handled(ORDER).once()


class TestConcurrency:
    @pytest.mark.parametrize("slots", [1, 3])
    async def test_no_more_run_at_a_time_than_may(self, slots: int) -> None:
        running: list[int] = []
        most: list[int] = []

        class Slow(Handler[Ordered], channel="slow", max_in_flight=slots):
            async def handle(self, event: Ordered, ctx: Context) -> None:
                running.append(1)
                most.append(len(running))
                await asyncio.sleep(5)  # the handler's work, in virtual time
                running.pop()

        async with Harness([Slow]) as h:
            for n in range(6):
                await h.publish(Ordered(f"o-{n}"))
                await h.publish(Ordered(f"r-{n}"), topic="placed.slow.retry")
            await h.settle()
            h.handled(by=Slow).times(12)
        assert max(most) == slots

    async def test_a_plain_handler_runs_in_a_thread_and_is_waited_for(self) -> None:
        async with Harness([Notify]) as h:
            await h.publish(Charged("o-1"))
            await h.settle()
            h.handled(Charged).once()
            assert h.clock.elapsed_s == 0
            assert h.handler(Notify).threads != [threading.main_thread().name]

    async def test_a_thousand_events_settle(self) -> None:
        async with Harness([Charge, Notify], resources={Gateway: Gateway(*[OSError()] * 5)}) as h:
            for n in range(1000):
                await h.publish(Ordered(f"o-{n}"))
            await h.settle(through_delays=True)
            h.handled(by=Notify).times(1000)
            h.requeued().times(5)


class TestFaults:
    async def test_what_a_broken_connection_held_comes_back_after_its_lease(self) -> None:
        gateway = Gateway()
        gateway.hangs = True
        async with Harness([Charge], resources={Gateway: gateway}) as h:
            await h.publish(ORDER)
            await asyncio.sleep(5)  # the handler hangs, in virtual time
            gateway.hangs = False
            h.drop_connection()
            await h.settle()
            h.lost(ORDER).once()
            h.handled().never()
            await h.settle(through_delays=True)
            again = h.handled(ORDER).once()
        assert (again.attempts, again.at_s) == (2, 60.0)

    async def test_after_a_break_messages_go_on_coming(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            h.drop_connection()
            await h.publish(ORDER)
            await h.settle()
            h.handled(ORDER).once()

    async def test_a_following_event_that_is_not_confirmed_is_a_failure(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            h.fail_publish(2)
            await h.publish(ORDER)
            await h.settle(through_delays=True)
            h.requeued(ORDER, reason="error").times(2)
            h.published(Charged).once()

    async def test_a_dead_letter_that_is_not_confirmed_is_tried_again(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway(*[KeyError()] * 2)}) as h:
            h.fail_publish(topic="placed.charge.dead")
            await h.publish(ORDER)
            await h.settle(through_delays=True)
            h.requeued(ORDER, reason="dead_letter_failed").once()
            h.dead_lettered(ORDER, reason="rule").once()

    async def test_one_that_never_can_be_confirmed_blocks_the_handler(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway(KeyError())}) as h:
            h.fail_publish(2, permanent=True)  # the record, and then the raw body alone
            await h.publish(ORDER)
            await h.publish(Ordered("o-2"))
            await h.settle(through_delays=True)
            h.requeued(ORDER, reason="dead_letter_failed").once()
            h.dead_lettered().never()

    async def test_only_the_topic_that_was_named_fails(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            h.fail_publish(topic="elsewhere")
            await h.publish(ORDER)
            await h.settle()
            h.published(Charged).once()

    async def test_at_least_one_has_to_fail(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            with pytest.raises(ValueError, match="give 1 or more"):
                h.fail_publish(0)


class TestWiring:
    async def test_real_resources_are_opened_and_closed(self) -> None:
        OPENED.clear()
        async with Harness([Charge]) as h:
            await h.publish(ORDER)
            await h.settle()
            h.handled(ORDER).once()
            assert [each.is_open for each in OPENED] == [True]
        assert [each.is_open for each in OPENED] == [False]

    async def test_a_stand_in_takes_the_place_of_the_resource(self) -> None:
        OPENED.clear()
        gateway = Gateway()
        async with Harness([Charge], resources={Gateway: gateway}) as h:
            assert h.handler(Charge).gateway is gateway
        assert OPENED == []

    async def test_settings_and_middleware_are_as_in_a_worker(self) -> None:
        seen: list[str] = []

        async def watch(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
            seen.append(event.order_id)
            return await call_next(event, ctx)

        asking = acting(lambda _: Requeue(100), retry=RetryPolicy(backoff=Exponential(max_s=30)))
        settings = Settings(max_requeue_delay_s=30)
        async with Harness([asking], settings=settings, middleware=[watch]) as h:
            await h.publish(ORDER)
            await h.settle()
            h.requeued(delay_s=30).once()
        assert seen == ["o-1"]

    async def test_handlers_that_cannot_run_together_are_refused(self) -> None:
        with pytest.raises(HandlerError, match="the same topic 'placed' and channel 'charge'"):
            Harness([Charge, Charge])

    async def test_what_fails_to_open_ends_the_test_and_closes_the_rest(self) -> None:
        class Broken(Handler[Ordered], channel="broken"):
            def __init__(self, gateway: Gateway) -> None:
                raise ConnectionRefusedError("no database")

            async def handle(self, event: Ordered, ctx: Context) -> None:
                pass

        OPENED.clear()
        with pytest.raises(CreationError, match=r"Broken cannot be created: .* no database"):
            async with Harness([Charge, Broken]):
                pytest.fail("entered")
        assert [each.is_open for each in OPENED] == [False]

    async def test_the_test_publishes_what_production_would_take(self) -> None:
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            with pytest.raises(EncodeError, match="is not an event"):
                await h.publish({"order_id": "o-1"})
            with pytest.raises(PublishError, match="0"):
                await h.publish_raw("placed", b"")
            with pytest.raises(PublishError, match="topic name"):
                await h.publish_raw("pla ced", b"{}")
            with pytest.raises(EncodeError, match="3600"):
                await h.publish(ORDER, defer_s=3601)

    async def test_what_still_runs_at_the_end_is_cancelled_in_no_time(self) -> None:
        class Hangs(Handler[Ordered], channel="hangs", timeout_s=800):
            async def handle(self, event: Ordered, ctx: Context) -> None:
                await asyncio.Event().wait()

        async with Harness([Hangs]) as h:
            await h.publish(ORDER)
            await asyncio.sleep(1)  # the handler hangs, in virtual time
        h.requeued(reason="shutdown").once()


class TestQuestions:
    async def test_a_question_alone_fails_the_test(self) -> None:
        with pytest.raises(HarnessError, match=r"h\.requeued\(Ordered, delay_s=1\) alone checks nothing"):
            async with Harness([Charge], resources={Gateway: Gateway()}) as h:
                h.requeued(Ordered, delay_s=1)

    async def test_but_hides_no_other_failure(self) -> None:
        async def run() -> None:
            async with Harness([Charge], resources={Gateway: Gateway()}) as h:
                h.requeued(Ordered)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await run()

    @pytest.mark.parametrize(
        ("ask", "error", "match"),
        [
            pytest.param(lambda h: h.handled(Gateway), EventError, "Gateway is not an event", id="a class"),
            pytest.param(lambda h: h.handled("order"), EventError, "str is not an event", id="a text"),
            pytest.param(lambda h: h.published(Gateway), EventError, "not an event", id="what is published"),
            pytest.param(lambda h: h.handled(by=Notify), HarnessError, "Notify is not in", id="a handler"),
            pytest.param(lambda h: h.handler(Notify), HarnessError, "which has Charge", id="its instance"),
            pytest.param(lambda h: h.requeued(reason="eror"), ValueError, "eror", id="a requeue's reason"),
            pytest.param(lambda h: h.dead_lettered(reason="x"), ValueError, "x", id="a dead letter's reason"),
        ],
    )
    async def test_what_cannot_be_found_is_a_mistake(
        self, ask: Callable[[Harness], object], error: type[Exception], match: str
    ) -> None:
        """For ``never()`` would else always be right."""
        async with Harness([Charge], resources={Gateway: Gateway()}) as h:
            with pytest.raises(error, match=match):
                ask(h)

    async def test_events_of_other_types_are_left_out(self) -> None:
        async with Harness([Charge, Notify], resources={Gateway: Gateway()}) as h:
            await h.publish(ORDER)
            await h.settle()
            h.published(Ordered).never()
            h.handled(Ordered("o-2")).never()
            h.handled().times(2)


HISTORY = """\
handled(Ordered): expected 2, found 1 (Charge 1)
placed 0000000000000001 Ordered(order_id='o-1')
       0.000 s  published by the test
       0.000 s  delivered to Charge, attempt 1
       0.000 s  requeued by Charge for 60 s, until 60.000 s, reason error: OSError: no answer
      60.000 s  delivered to Charge, attempt 2
      60.000 s  Charge published harness.charged.v1 to charges
      60.000 s  handled by Charge"""


class TestHistory:
    async def test_an_expectation_that_is_not_met_tells_the_history_of_its_messages(self) -> None:
        async def run() -> None:
            async with Harness([Charge], resources={Gateway: Gateway(OSError("no answer"))}) as h:
                await h.publish(ORDER)
                await h.settle(through_delays=True)
                h.handled(Ordered).times(2)

        with pytest.raises(HistoryError) as caught:
            await run()
        assert str(caught.value) == HISTORY

    async def test_any_other_failure_has_the_whole_history_as_a_note(self) -> None:
        async def run() -> None:
            async with Harness([Charge], resources={Gateway: Gateway()}) as h:
                await h.publish(ORDER)
                await h.settle()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            await run()
        (note,) = caught.value.__notes__
        assert note.startswith("what happened to the messages:\nplaced 0000000000000001 Ordered(")
        assert "published by Charge; no handler here reads this topic" in note
