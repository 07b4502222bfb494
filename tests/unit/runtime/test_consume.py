"""Consume: every delivery that is taken in ends in exactly one outcome, and no more run than may."""

import asyncio
import dataclasses
import json
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit import (
    Context,
    DeadLetter,
    Discard,
    Finish,
    Handler,
    Outcome,
    Pause,
    Requeue,
)
from nsqkit.policy.verdict import Rules
from nsqkit.runtime.consume import SETTLING_RETRY_S
from tests.unit.runtime.bench import (
    NOW_NS,
    PATIENCE_S,
    POLICY,
    Bench,
    FakeMessage,
    Happened,
    asynchronous,
    ending,
    plain,
    refused,
    unconfirmed,
    until,
)

UNKNOWN = json.dumps(
    {"specversion": "1.0", "type": "bench.other.v1", "source": "s", "id": "i", "data": {}}
).encode()


class Gate:
    """A handler that counts who is inside, and lets them out one by one or all at once."""

    def __init__(self) -> None:
        self.inside: list[int] = []
        self.most = 0
        self.started: list[int] = []
        self.contexts: list[Context] = []
        self._out = asyncio.Semaphore(0)

    async def __call__(self, event: Happened, ctx: Context) -> None:
        self.inside.append(event.n)
        self.started.append(event.n)
        self.contexts.append(ctx)
        self.most = max(self.most, len(self.inside))
        try:
            await self._out.acquire()
        finally:
            self.inside.remove(event.n)

    def let_out(self, count: int = 1) -> None:
        for _ in range(count):
            self._out.release()


def body(n: int) -> bytes:
    return b'{"n": %d}' % n


class TestHandlersEnd:
    """What a handler does, and the one outcome that it has."""

    @pytest.mark.parametrize(
        ("outcome", "label", "answer"),
        [
            pytest.param(None, "success", ("FIN",), id="nothing returned is a success"),
            pytest.param(Finish(), "success", ("FIN",), id="finish is a success"),
            pytest.param(Discard("old"), "discard", ("FIN",), id="discard finishes"),
            pytest.param(DeadLetter("bad"), "dead_letter", ("FIN",), id="a dead letter is finished"),
            pytest.param(Requeue(7), "requeue", ("REQ", 7), id="a requeue waits as long as it says"),
            pytest.param(Requeue(), "requeue", ("REQ", 2.0), id="a requeue without a delay backs off"),
            pytest.param(Pause(9), "requeue", ("REQ", 9), id="a pause brings the message back after it"),
            pytest.param(ValueError("x"), "requeue", ("REQ", 2.0), id="a failure backs off"),
            pytest.param(KeyError("x"), "dead_letter", ("FIN",), id="a rule says what an error means"),
        ],
    )
    async def test_outcome(self, outcome: object, label: str, answer: tuple[Any, ...]) -> None:
        bench = Bench(ending(outcome))
        message = await bench.run()
        assert bench.outcome == label
        assert message.answers == [answer]

    @pytest.mark.parametrize("attempts", [1, 2, 3, 4])
    async def test_backoff_grows_with_the_attempts(self, attempts: int) -> None:
        bench = Bench(ending(ValueError("x")))
        message = await bench.run(attempts=attempts)
        assert message.answers == [("REQ", 2.0**attempts)]
        assert bench.reason == "error"

    @pytest.mark.parametrize("outcome", [ValueError("x"), Requeue(1), Requeue(), Pause(1)])
    async def test_at_the_last_attempt_it_is_exhausted(self, outcome: object) -> None:
        bench = Bench(ending(outcome))
        message = await bench.run(attempts=5)
        assert (bench.outcome, bench.reason) == ("dead_letter", "exhausted")
        assert message.answers == [("FIN",)]

    async def test_a_pause_rests_the_intake_also_when_its_message_is_exhausted(self) -> None:
        bench = Bench(ending(Pause(30)))
        await bench.run(attempts=1)
        await bench.run(attempts=5)
        assert bench.pauses == [30, 30]

    @pytest.mark.parametrize(
        ("outcome", "said"),
        [
            pytest.param("done", "returned 'done'", id="a value that is no outcome"),
            pytest.param(False, "returned False", id="False is no outcome either"),
            pytest.param(Finish, "returned <class", id="an outcome's class is not an outcome"),
            pytest.param(asyncio.CancelledError(), "cancelled from within", id="it cancels itself"),
            pytest.param(SystemExit(3), "raised SystemExit: 3", id="it ends the process"),
            pytest.param(BaseExceptionGroup("g", [SystemExit(1)]), "BaseExceptionGroup", id="a base group"),
            pytest.param(UnicodeError("\udc80"), "UnicodeError", id="a text that UTF-8 cannot spell"),
        ],
    )
    async def test_a_handler_that_misbehaves_has_failed(self, outcome: object, said: str) -> None:
        bench = Bench(ending(outcome))
        message = await bench.run()
        assert (bench.outcome, bench.reason) == ("requeue", "error")
        assert message.answers == [("REQ", 2.0)]
        (line,) = bench.log.settled()
        assert said in line["detail"]

    @pytest.mark.parametrize(
        "outcome",
        [
            pytest.param(UnicodeError("\udc80"), id="an error's text that UTF-8 cannot spell"),
            pytest.param(DeadLetter("\udc80"), id="a detail that UTF-8 cannot spell"),
            pytest.param(DeadLetter(ValueError("x")), id="a detail that is no text"),  # type: ignore[arg-type]
            pytest.param(BaseExceptionGroup("g", [SystemExit(1)]), id="a base group"),
        ],
    )
    async def test_whatever_ends_it_can_be_dead_lettered(self, outcome: object) -> None:
        bench = Bench(ending(outcome))
        message = await bench.run(attempts=5)
        assert bench.outcome == "dead_letter"
        assert message.answers == [("FIN",)]
        assert bench.publishes.record["body"] == '{"n": 1}'

    async def test_an_error_that_cannot_tell_its_text_is_a_failure_like_any(self) -> None:
        class MuteError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("mute")

        bench = Bench(ending(MuteError()))
        await bench.run()
        assert (bench.outcome, bench.reason) == ("requeue", "error")
        assert bench.log.settled()[0]["error_type"] == "MuteError"

    async def test_an_own_timeout_error_of_the_handler_is_an_error(self) -> None:
        bench = Bench(ending(TimeoutError("the shop was slow")))
        await bench.run()
        assert bench.reason == "error"
        assert bench.meter.errors == {"TimeoutError": 1}

    async def test_past_its_timeout_an_async_handler_is_cancelled_and_requeued_as_timeout(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate, timeout_s=0.01))
        message = await bench.run()
        assert bench.reason == "timeout"
        assert message.answers == [("REQ", 2.0)]
        assert gate.inside == []
        assert bench.meter.errors == {"HandlerTimeoutError": 1}

    async def test_what_a_handler_returns_that_swallows_its_timeout_counts(self) -> None:
        async def stubborn(_: Happened, ctx: Context) -> Outcome:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return Finish()
            raise AssertionError

        bench = Bench(asynchronous(stubborn, timeout_s=0.01))
        await bench.run()
        assert bench.outcome == "success", "its effect is there"

    async def test_what_a_plain_handler_returns_past_its_timeout_counts(self) -> None:
        def late(_: Happened, ctx: Context) -> Outcome:
            while not ctx.cancelled:
                threading.Event().wait(0.001)
            return Discard("noticed")

        bench = Bench(plain(late, timeout_s=0.01))
        message = await bench.run()
        assert bench.outcome == "discard"
        assert message.answers == [("FIN",)]

    async def test_what_a_plain_handler_raises_past_its_timeout_is_a_timeout(self) -> None:
        def late(_: Happened, ctx: Context) -> None:
            while not ctx.cancelled:
                threading.Event().wait(0.001)
            raise ValueError("gave up")

        bench = Bench(plain(late, timeout_s=0.01))
        await bench.run()
        assert bench.reason == "timeout"

    async def test_a_plain_handler_that_calls_sys_exit_ends_nothing_but_its_message(self) -> None:
        bench = Bench(plain(lambda _, ctx: sys.exit(2)))
        await bench.run()
        assert bench.reason == "error"
        assert "raised SystemExit: 2" in bench.log.settled()[0]["detail"]

    async def test_what_a_handler_cannot_take_its_next_message_can(self) -> None:
        async def behave(event: Happened, ctx: Context) -> None:
            if event.n == 1:
                raise BaseExceptionGroup("g", [SystemExit(1)])

        bench = Bench(asynchronous(behave))
        await bench.run(body(1))
        await bench.run(body(2))
        assert bench.meter.outcomes == {"requeue": 1, "success": 1}


class TestBeforeTheHandler:
    """What ends before a handler is called."""

    @pytest.fixture
    def called(self) -> list[Happened]:
        return []

    @pytest.fixture
    def handler(self, called: list[Happened]) -> Handler[Happened]:
        async def note(event: Happened, ctx: Context) -> None:
            called.append(event)

        return asynchronous(note)

    @pytest.mark.parametrize(
        ("raw", "kept"),
        [
            pytest.param(b"nonsense", {"body": "nonsense"}, id="no JSON"),
            pytest.param(b'{"n": "one"}', {"body": '{"n": "one"}'}, id="the wrong shape"),
            pytest.param(b"\xff\xfe", {"body_base64": "//4="}, id="no UTF-8"),
        ],
    )
    async def test_an_undecodable_body_is_a_dead_letter_at_once_with_its_raw_bytes(
        self, handler: Handler[Happened], called: list[Happened], raw: bytes, kept: dict[str, str]
    ) -> None:
        bench = Bench(handler)
        message = await bench.run(raw)
        assert (bench.outcome, bench.reason) == ("dead_letter", "undecodable")
        assert message.answers == [("FIN",)]
        assert kept.items() <= bench.publishes.record.items()
        assert called == []
        assert bench.meter.durations == []
        assert bench.meter.errors == {}, "no handler raised it"

    async def test_on_the_way_to_the_dead_letter_nothing_decodes_again(
        self, handler: Handler[Happened], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench = Bench(handler)
        seen: list[bytes] = []
        decoder = bench.intake._decoder
        real = decoder.decode

        def spy(raw: bytes) -> Any:
            seen.append(raw)
            return real(raw)

        monkeypatch.setattr(decoder, "decode", spy)
        await bench.run(b"nonsense")
        assert seen == [b"nonsense"]

    @pytest.mark.parametrize(
        ("on_unknown", "attempts", "expected"),
        [
            pytest.param("requeue", 1, ("requeue", ("REQ", 30.0)), id="requeued for 30 s"),
            pytest.param("requeue", 5, ("dead_letter", ("FIN",)), id="until it is exhausted"),
            pytest.param("discard", 1, ("discard", ("FIN",)), id="discarded, if so chosen"),
            pytest.param("dead_letter", 1, ("dead_letter", ("FIN",)), id="dead letter, if so chosen"),
        ],
    )
    async def test_an_unknown_type_never_meets_the_handler(
        self, handler: Handler[Happened], on_unknown: Any, attempts: int, expected: tuple[Any, ...]
    ) -> None:
        bench = Bench(handler, rules=Rules(POLICY, on_unknown=on_unknown))
        message = await bench.run(UNKNOWN, attempts=attempts)
        assert (bench.outcome, *message.answers) == expected
        assert bench.meter.durations == []
        if on_unknown != "discard":
            assert bench.reason == "unknown_type"

    @pytest.mark.parametrize(
        ("on_expired", "label"), [("dead_letter", "dead_letter"), ("discard", "discard")]
    )
    async def test_an_expired_message_is_not_even_decoded(
        self, handler: Handler[Happened], called: list[Happened], on_expired: Any, label: str
    ) -> None:
        bench = Bench(handler, rules=Rules(POLICY, max_age_s=60.0, on_expired=on_expired))
        await bench.run(b"nonsense", timestamp_ns=NOW_NS - 61 * 10**9)
        assert bench.outcome == label
        assert bench.meter.ages == [61.0]
        if label == "dead_letter":
            assert bench.reason == "expired"

    async def test_a_message_of_just_its_longest_age_is_handled(self, handler: Handler[Happened]) -> None:
        bench = Bench(handler, rules=Rules(POLICY, max_age_s=60.0))
        await bench.run(timestamp_ns=NOW_NS - 60 * 10**9)
        assert bench.outcome == "success"

    async def test_a_message_that_took_too_many_deliveries_is_suspect_before_decoding(
        self, handler: Handler[Happened], called: list[Happened]
    ) -> None:
        bench = Bench(handler)
        await bench.run(b"nonsense", attempts=16)
        assert (bench.outcome, bench.reason) == ("dead_letter", "crash_suspect")

    async def test_deliveries_without_an_outcome_leave_ten_more_tries(
        self, handler: Handler[Happened], called: list[Happened]
    ) -> None:
        bench = Bench(handler)
        await bench.run(attempts=15)
        assert bench.outcome == "success"
        assert called == [Happened(1)]

    async def test_a_clock_behind_nsqds_makes_no_negative_age(self, handler: Handler[Happened]) -> None:
        bench = Bench(handler)
        await bench.run(timestamp_ns=NOW_NS + 10**9)
        assert bench.meter.ages == [0.0]


class TestSlots:
    """A delivery starts when it arrives, and no more run than slots."""

    async def test_what_finds_no_slot_waits_and_starts_in_order_as_they_free(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=2)
        for n in range(1, 6):
            bench.receive(body(n))
        await until(lambda: len(gate.inside) == 2)
        assert bench.intake.held == bench.meter.n_in_flight == 5
        gate.let_out()
        await until(lambda: gate.started == [1, 2, 3])
        gate.let_out(4)
        await bench.idle()
        assert gate.started == [1, 2, 3, 4, 5]
        assert gate.most == 2
        assert bench.meter.outcomes == {"success": 5}

    async def test_a_failing_delivery_frees_its_slot(self) -> None:
        bench = Bench(ending(ValueError("x")), slots=1)
        messages = [bench.receive() for _ in range(3)]
        await bench.idle()
        assert [message.answers for message in messages] == [[("REQ", 2.0)]] * 3

    async def test_a_delivery_that_is_dead_lettered_keeps_its_slot_until_nsqd_confirms(self) -> None:
        bench = Bench(ending(DeadLetter()), slots=1)
        bench.publishes.gate = asyncio.Event()
        bench.receive()
        bench.receive()
        await until(lambda: ("publish", "consumed.work.dead") in bench.journal)
        assert bench.journal.count(("publish", "consumed.work.dead")) == 1
        bench.publishes.gate.set()
        await bench.idle()
        assert bench.meter.outcomes == {"dead_letter": 2}


class TestStop:
    """Once stopped nothing more starts, and nothing is kept."""

    async def test_what_waits_and_what_still_arrives_is_given_back_once_nsqd_has_been_told(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=1)
        running, waiting = bench.receive(body(1)), bench.receive(body(2))
        await until(lambda: gate.inside == [1])
        bench.intake.stop()
        late = bench.receive(body(3))
        assert waiting.answers == late.answers == []
        bench.intake.give_back()
        later = bench.receive(body(4))
        assert waiting.answers == late.answers == later.answers == [("REQ", 0.0)]
        assert bench.meter.requeues == {"shutdown": 3}
        gate.let_out()
        await bench.idle()
        assert running.answers == [("FIN",)]
        assert gate.started == [1]

    async def test_what_is_given_back_counts_as_no_failure_of_the_handler(self) -> None:
        bench = Bench(ending(None))
        bench.intake.stop()
        bench.intake.give_back()
        bench.receive()
        assert bench.meter.errors == {}
        assert bench.meter.durations == []
        assert [level for level, _, _ in bench.log.lines] == ["info"]

    async def test_a_shutdown_is_given_back_whatever_its_attempts(self) -> None:
        bench = Bench(ending(None))
        bench.intake.stop()
        bench.intake.give_back()
        message = bench.receive(attempts=5)
        assert message.answers == [("REQ", 0.0)]
        assert bench.publishes.published == []


class TestCancel:
    """The end of the grace period."""

    async def test_async_handlers_are_cancelled_and_their_messages_given_back(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate))
        messages = [bench.receive(body(n)) for n in (1, 2)]
        await until(lambda: len(gate.inside) == 2)
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await bench.idle()
        assert [message.answers for message in messages] == [[("REQ", 0.0)]] * 2
        assert bench.meter.requeues == {"shutdown": 2}
        assert all(ctx.cancelled for ctx in gate.contexts)

    async def test_what_a_handler_returns_after_its_cancellation_counts(self) -> None:
        inside = asyncio.Event()

        async def tidy(_: Happened, ctx: Context) -> Outcome | None:
            try:
                inside.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return Finish()
            return None

        bench = Bench(asynchronous(tidy))
        message = bench.receive()
        await inside.wait()
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await bench.idle()
        assert bench.outcome == "success"
        assert message.answers == [("FIN",)]

    async def test_what_a_handler_raises_after_its_cancellation_counts(self) -> None:
        inside = asyncio.Event()

        async def clumsy(_: Happened, ctx: Context) -> None:
            try:
                inside.set()
                await asyncio.Event().wait()
            finally:
                raise ValueError("while tidying up")

        bench = Bench(asynchronous(clumsy))
        bench.receive()
        await inside.wait()
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await bench.idle()
        assert bench.reason == "error"

    async def test_a_plain_handler_only_sees_that_it_is_to_end(self) -> None:
        inside = threading.Event()

        def work(_: Happened, ctx: Context) -> Outcome | None:
            inside.set()
            while not ctx.cancelled:
                threading.Event().wait(0.001)
            return Requeue(3)

        bench = Bench(plain(work))
        message = bench.receive()
        await asyncio.to_thread(inside.wait, PATIENCE_S)
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        await bench.idle()
        assert message.answers == [("REQ", 3)]
        assert bench.reason == "requested"

    async def test_a_settlement_under_way_is_not_cancelled(self) -> None:
        bench = Bench(ending(DeadLetter()))
        bench.publishes.gate = asyncio.Event()
        message = bench.receive()
        await until(lambda: bool(bench.journal))
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        bench.publishes.gate.set()
        await bench.idle()
        assert message.answers == [("FIN",)]
        assert bench.outcome == "dead_letter"


class TestRest:
    """While the intake rests nothing starts; what runs goes on."""

    async def test_what_waits_or_arrives_comes_back_when_the_rest_is_over(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=1)
        bench.clock.s = 10.0
        running, waiting = bench.receive(body(1)), bench.receive(body(2))
        await until(lambda: gate.inside == [1])
        bench.intake.rest(40.0)
        bench.clock.s = 15.0
        late = bench.receive(body(3))
        assert waiting.answers == [("REQ", 30.0)]
        assert late.answers == [("REQ", 25.0)]
        assert bench.meter.requeues == {"paused": 2}
        gate.let_out()
        await bench.idle()
        assert running.answers == [("FIN",)]

    async def test_when_it_is_over_deliveries_start_again(self) -> None:
        bench = Bench(ending(None))
        bench.intake.rest(5.0)
        bench.clock.s = 5.0
        assert (await bench.run()).answers == [("FIN",)]

    async def test_a_shorter_rest_does_not_shorten_a_longer_one(self) -> None:
        bench = Bench(ending(None))
        bench.intake.rest(20.0)
        bench.intake.rest(5.0)
        bench.clock.s = 6.0
        assert bench.receive().answers == [("REQ", 14.0)]

    async def test_a_stop_while_resting_gives_back_at_once(self) -> None:
        bench = Bench(ending(None))
        bench.intake.rest(20.0)
        bench.intake.stop()
        bench.intake.give_back()
        assert bench.receive().answers == [("REQ", 0.0)]
        assert bench.meter.requeues == {"shutdown": 1}

    async def test_a_rest_that_is_over_already_gives_nothing_a_negative_delay(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=1)
        bench.receive(body(1))
        waiting = bench.receive(body(2))
        bench.clock.s = 9.0
        bench.intake.rest(5.0)
        assert waiting.answers == [("REQ", 0.0)]
        gate.let_out()
        await bench.idle()


class TestLease:
    """A message is answered only while it is surely still this delivery's."""

    async def test_when_the_lease_is_over_nothing_is_sent_and_nothing_published(self) -> None:
        async def slow(_: Happened, ctx: Context) -> None:
            ctx.publish(Happened(2))
            bench.clock.s = 59.0

        bench = Bench(asynchronous(slow))
        message = await bench.run(lease_s=60.0)
        assert bench.outcome == "lease_lost"
        assert message.answers == []
        assert bench.journal == []
        assert len(bench.log.settled()) == 1

    async def test_a_failure_after_the_lease_is_counted_as_an_error_and_lost(self) -> None:
        async def slow(_: Happened, ctx: Context) -> None:
            bench.clock.s = 100.0
            raise KeyError

        bench = Bench(asynchronous(slow))
        await bench.run()
        assert bench.outcome == "lease_lost"
        assert bench.meter.errors == {"KeyError": 1}
        assert bench.journal == []

    async def test_just_before_its_end_the_answer_goes_out(self) -> None:
        async def slow(_: Happened, ctx: Context) -> None:
            bench.clock.s = 58.9

        bench = Bench(asynchronous(slow))
        assert (await bench.run(lease_s=60.0)).answers == [("FIN",)]

    @pytest.mark.parametrize(
        "outcome", [None, ValueError("x"), DeadLetter(), Discard(), Requeue(1)], ids=repr
    )
    async def test_a_lost_connection_loses_the_lease(self, outcome: object) -> None:
        bench = Bench(ending(outcome))
        await bench.run(is_connected=False)
        assert bench.outcome == "lease_lost"
        assert not bench.meter.requeues
        assert not bench.meter.dead_letters

    async def test_a_message_given_back_over_a_lost_connection_is_lost_as_well(self) -> None:
        bench = Bench(ending(None))
        bench.intake.stop()
        bench.intake.give_back()
        bench.receive(is_connected=False)
        assert bench.outcome == "lease_lost"


class TestContext:
    """What a handler is told of its message."""

    async def seen(self, raw: bytes = b'{"n": 1}', **options: Any) -> tuple[Context, Bench]:
        contexts: list[Context] = []

        async def note(_: Happened, ctx: Context) -> None:
            contexts.append(ctx)
            ctx.log.info("noted", user_id="u-1")

        bench = Bench(asynchronous(note, **options.pop("keywords", {})))
        await bench.run(raw, **options)
        return contexts[0], bench

    async def test_it_has_what_nsqd_said(self) -> None:
        ctx, _ = await self.seen(attempts=3)
        assert (ctx.topic, ctx.channel, ctx.attempts) == ("consumed", "work", 3)
        assert (ctx.message_id, ctx.timestamp_ns) == ("0000000000000001", NOW_NS)
        assert ctx.event_id is None

    async def test_it_has_the_envelopes_id(self) -> None:
        envelope = {"specversion": "1.0", "type": "bench.happened.v1", "source": "s", "id": "e-1"}
        ctx, bench = await self.seen(json.dumps({**envelope, "data": {"n": 1}}).encode())
        assert ctx.event_id == "e-1"
        assert bench.log.lines[0][2]["event_id"] == "e-1"

    async def test_its_log_carries_the_messages_fields(self) -> None:
        _, bench = await self.seen(attempts=2)
        assert bench.log.lines == [
            (
                "info",
                "noted",
                {
                    "message_id": "0000000000000001",
                    "topic": "consumed",
                    "channel": "work",
                    "handler": "Scripted",
                    "attempts": 2,
                    "user_id": "u-1",
                },
            ),
        ]

    async def test_the_time_that_remains_is_the_timeouts(self) -> None:
        ctx, _ = await self.seen(keywords={"timeout_s": 20})
        assert ctx.remaining_s() == 20.0

    async def test_the_time_that_remains_is_the_leases_where_that_is_shorter(self) -> None:
        ctx, _ = await self.seen(keywords={"timeout_s": 20}, lease_s=11.0)
        assert ctx.remaining_s() == 10.0

    async def test_a_handler_on_the_loop_is_bounded_by_the_lease_alone(self) -> None:
        found: list[float] = []
        bench = Bench(plain(lambda _, ctx: found.append(ctx.remaining_s()), run_on_loop=True))
        await bench.run()
        assert found == [59.0]


class TestCounting:
    """What is counted and logged of each delivery."""

    async def test_a_success_has_no_line(self) -> None:
        bench = Bench(ending(None))
        await bench.run()
        assert bench.log.lines == []

    async def test_the_handlers_time_is_measured_whatever_it_does(self) -> None:
        async def slow(event: Happened, ctx: Context) -> None:
            bench.clock.s += 2.0
            if event.n:
                raise ValueError

        bench = Bench(asynchronous(slow))
        await bench.run(body(0))
        await bench.run(body(1))
        assert bench.meter.durations == [2.0, 2.0]

    async def test_a_settlement_that_fails_unforeseen_brings_the_message_back_later(self) -> None:
        bench = Bench(ending(DeadLetter()))
        bench.publishes.failures.append(RuntimeError("unforeseen"))
        message = await bench.run()
        assert bench.reason == "error"
        assert message.answers == [("REQ", SETTLING_RETRY_S)]
        assert [(level, name) for level, name, _ in bench.log.lines] == [
            ("exception", "settling_failed"),
            ("info", "message_settled"),
        ]


# Everything at once: the accounting holds at each step, whatever handlers and operators do.

BEHAVIOURS: tuple[object, ...] = (
    None,
    Finish(),
    Discard("x"),
    DeadLetter("x"),
    Requeue(1),
    Requeue(5000),
    Requeue(),
    Pause(1),
    ValueError("x"),
    KeyError("x"),
    TimeoutError("x"),
    asyncio.CancelledError(),
    SystemExit(1),
    "no outcome",
    "publishes",
    "waits",
)

received = st.fixed_dictionaries(
    {
        "raw": st.one_of(
            st.integers(0, len(BEHAVIOURS) - 1).map(body), st.sampled_from([b"nonsense", b"\xff", UNKNOWN])
        ),
        "attempts": st.integers(1, 20),
        "is_connected": st.sampled_from([True, True, True, False]),
        "lease_s": st.sampled_from([60.0, 60.0, 10.0]),
        "timestamp_ns": st.sampled_from([NOW_NS, NOW_NS - 10**12]),
    }
)
steps = st.lists(
    st.one_of(
        received,
        received,
        received,
        st.sampled_from(["turn", "turn", "release", "advance", "refuse", "unconfirm", "no channel"]),
        st.sampled_from(["rest", "stop", "give back", "cancel", "turn", "turn", "turn"]),
    ),
    max_size=40,
)


class Scenario:
    """One run of arbitrary messages, failures and operations."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.running = 0
        self.gate = asyncio.Event()
        rules = Rules(POLICY, max_age_s=500.0, max_delay_s=900.0)
        self.bench = Bench(asynchronous(self.behave), rules=rules, slots=slots)
        self.messages: list[FakeMessage] = []

    async def behave(self, event: Happened, ctx: Context) -> Any:
        self.running += 1
        assert self.running <= self.slots
        try:
            return await self.act(BEHAVIOURS[event.n], ctx)
        finally:
            self.running -= 1

    async def act(self, what: object, ctx: Context) -> Any:
        if isinstance(what, BaseException):
            raise what
        if what == "publishes":
            ctx.publish(Happened(0))
            return None
        if what == "waits":
            await self.gate.wait()
            return None
        return what

    async def step(self, step: Any) -> None:  # noqa: C901 - one case an operation
        bench = self.bench
        match step:
            case "turn":
                await asyncio.sleep(0)
            case "release":
                self.gate.set()
            case "advance":
                bench.clock.s += 5.0
            case "refuse":
                bench.publishes.failures.append(refused())
            case "unconfirm":
                bench.publishes.failures.append(unconfirmed())
            case "no channel":
                bench.publishes.channel_failures.append(refused())
            case "rest":
                bench.intake.rest(bench.clock.s + 7.0)
            case "stop":
                bench.intake.stop()
            case "give back":
                bench.intake.stop()
                bench.intake.give_back()
            case "cancel":
                bench.intake.stop()
                bench.intake.give_back()
                bench.intake.cancel()
            case _:
                self.messages.append(bench.receive(step["raw"], received_s=bench.clock.s, **_options(step)))

    def check(self) -> None:
        meter, intake = self.bench.meter, self.bench.intake
        assert meter.is_balanced
        assert meter.n_in_flight == intake.held
        assert len(intake._running) <= self.slots

    def check_end(self) -> None:
        outcomes, messages = self.bench.meter.outcomes, self.messages
        answers = [answer[0] for message in messages for answer in message.answers]
        finished = outcomes["success"] + outcomes["dead_letter"] + outcomes["discard"]
        assert answers.count("FIN") == finished
        assert answers.count("REQ") == outcomes["requeue"]
        assert len(messages) - len(answers) == outcomes["lease_lost"]
        lines = [line["message_id"] for line in self.bench.log.settled()]
        assert len(lines) == len(set(lines)), "a delivery has one line at most"
        told = outcomes.total() - outcomes["success"]
        assert len(lines) == told, "all but the successes have one"
        delays = [answer[1] for message in messages for answer in message.answers if answer[0] == "REQ"]
        assert all(0 <= delay_s <= 900 for delay_s in delays)


def _options(step: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != "raw"}


@given(steps=steps, slots=st.integers(1, 4))
def test_received_is_the_sum_of_outcomes_and_in_flight_at_every_step(steps: list[Any], slots: int) -> None:
    async def run() -> None:
        scenario = Scenario(slots)
        for step in steps:
            await scenario.step(step)
            scenario.check()
        scenario.gate.set()
        if "stop" in steps:
            scenario.bench.intake.give_back()
        await scenario.bench.idle()
        scenario.check_end()

    asyncio.run(run())


def test_the_scenarios_handlers_have_every_outcome_there_is() -> None:
    named = {type(each) for each in BEHAVIOURS}
    assert named > {Finish, Discard, DeadLetter, Requeue, Pause}
    assert {field.name for field in dataclasses.fields(Rules)} >= {"max_age_s", "max_delay_s"}
