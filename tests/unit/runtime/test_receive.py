"""Consume: every delivery that is taken in ends in exactly one outcome, and no more run than may."""

import asyncio
import contextlib
import contextvars
import dataclasses
import gc
import json
import math
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
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
    RateLimit,
    Requeue,
)
from nsqkit.errors import BreakerOpenError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.policy.verdict import RequeueReason, Rules
from nsqkit.runtime.gate import Flow
from nsqkit.runtime.process import SETTLING_RETRY_S
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import (
    NOW_NS,
    NSQD,
    POLICY,
    Bench,
    FakeMessage,
    Happened,
    asynchronous,
    ending,
    passed,
    plain,
    refused,
    timers,
    unconfirmed,
    until,
)
from tests.waiting import PATIENCE_S, turns, until_blocking

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

    @pytest.mark.parametrize("outcome", [ValueError("x"), Requeue(1), Requeue()])
    async def test_at_the_last_attempt_it_is_exhausted(self, outcome: object) -> None:
        bench = Bench(ending(outcome))
        message = await bench.run(attempts=5)
        assert (bench.outcome, bench.reason) == ("dead_letter", "exhausted")
        assert message.answers == [("FIN",)]

    async def test_a_pause_costs_no_message_also_at_the_last_attempt(self) -> None:
        bench = Bench(ending(Pause(30)))
        message = await bench.run(attempts=5)
        assert bench.reason == "paused"
        assert message.answers == [("REQ", 30)]
        assert bench.gate.reason == "paused"

    @pytest.mark.parametrize(
        ("outcome", "said"),
        [
            pytest.param("done", "returned 'done'", id="a value that is no outcome"),
            pytest.param(False, "returned False", id="False is no outcome either"),
            pytest.param(Finish, "returned <class", id="an outcome's class is not an outcome"),
            pytest.param(asyncio.CancelledError(), "nsqkit did not cancel it", id="it cancels itself"),
            pytest.param(SystemExit(3), "raised SystemExit: 3", id="it ends the process"),
            pytest.param(GeneratorExit(), "raised GeneratorExit: ", id="it ends a generator"),
            pytest.param(KeyboardInterrupt(), "raised KeyboardInterrupt: ", id="it is no Ctrl-C"),
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
        assert bench.meter.errors == {"HandlerTimeoutError": 1}
        assert [name for level, name, _ in bench.log.lines if level == "warning"] == ["handler_overran"]

    async def test_a_handler_that_ignores_every_cancellation_is_logged_once_with_its_line(
        self, hours: VirtualClock
    ) -> None:
        end = asyncio.Event()

        async def deaf(_: Happened, ctx: Context) -> None:
            while not end.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await end.wait()

        bench = Bench(asynchronous(deaf), now_s=hours.now_s)
        bench.receive()
        await passed(hours, 3600.0)
        (fields,) = [fields for _, event, fields in bench.log.lines if event == "handler_stuck"]
        assert str(fields["at"]).rpartition(":")[0] == __file__
        end.set()
        await bench.idle()

    async def test_what_a_plain_handler_returns_past_its_timeout_counts(self) -> None:
        def late(_: Happened, ctx: Context) -> Outcome:
            until_blocking(lambda: ctx.cancelled)
            return Discard("noticed")

        bench = Bench(plain(late, timeout_s=0.01), now_s=time.monotonic)
        message = await bench.run()
        assert bench.outcome == "discard"
        assert bench.meter.errors == {"HandlerTimeoutError": 1}
        assert message.answers == [("FIN",)]

    async def test_what_a_plain_handler_raises_past_its_timeout_is_a_timeout(self) -> None:
        def late(_: Happened, ctx: Context) -> None:
            until_blocking(lambda: ctx.cancelled)
            raise ValueError("gave up")

        bench = Bench(plain(late, timeout_s=0.01), now_s=time.monotonic)
        await bench.run()
        assert bench.reason == "timeout"

    async def test_a_plain_handler_that_calls_sys_exit_ends_nothing_but_its_message(self) -> None:
        bench = Bench(plain(lambda _, ctx: sys.exit(2)))
        await bench.run()
        assert bench.reason == "error"
        assert "raised SystemExit: 2" in bench.log.settled()[0]["detail"]

    @pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), SystemExit(2)], ids=repr)
    async def test_what_it_raises_after_waiting_fails_its_message(self, error: BaseException) -> None:
        async def behave(event: Happened, ctx: Context) -> None:
            await turns()
            raise error

        bench = Bench(asynchronous(behave))
        await bench.run()
        assert (bench.outcome, bench.reason) == ("requeue", "error")

    @pytest.mark.parametrize("error", [GeneratorExit(), KeyboardInterrupt(), SystemExit(2)], ids=repr)
    async def test_what_a_plain_handler_raises_in_its_thread_fails_its_message(
        self, error: BaseException
    ) -> None:
        def behave(_: Happened, ctx: Context) -> None:
            raise error

        bench = Bench(plain(behave))
        await bench.run()
        assert (bench.outcome, bench.reason) == ("requeue", "error")

    async def test_a_group_of_errors_is_named_by_them(self) -> None:
        group = ExceptionGroup("g", [ValueError("sku"), ExceptionGroup("h", [ConnectionError("no answer")])])
        bench = Bench(ending(group))
        await bench.run()
        (line,) = bench.log.settled()
        assert line["detail"] == "ExceptionGroup: ValueError: sku; ConnectionError: no answer"
        assert line["error_type"] == "ValueError"
        assert bench.meter.errors == {"ValueError": 1}

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
        seen: list[bytes] = []
        real = Decoder.decode

        def spy(decoder: Decoder, raw: bytes) -> Any:
            seen.append(raw)
            return real(decoder, raw)

        monkeypatch.setattr(Decoder, "decode", spy)
        await Bench(handler).run(b"nonsense")
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

    @pytest.mark.parametrize(
        ("skew_ns", "outcome", "age_s"),
        [
            pytest.param(600 * 10**9, "success", 10.0, id="this clock is ahead"),
            pytest.param(540 * 10**9, "dead_letter", 70.0, id="and the message is old"),
            pytest.param(-(10**9), "dead_letter", 611.0, id="this clock is behind"),
            pytest.param(None, "success", 610.0, id="nsqd's clock is not known"),
        ],
    )
    async def test_a_message_expires_by_the_clock_of_its_nsqd(
        self, handler: Handler[Happened], skew_ns: int | None, outcome: str, age_s: float
    ) -> None:
        bench = Bench(handler, rules=Rules(POLICY, max_age_s=60.0), skews_ns={NSQD: skew_ns})
        await bench.run(timestamp_ns=NOW_NS - 610 * 10**9)
        assert bench.outcome == outcome
        assert bench.meter.ages == [age_s]

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
            until_blocking(lambda: ctx.cancelled)
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


class TestShut:
    """While the gate is shut nothing starts; what runs goes on, what waits is kept."""

    async def test_what_waits_or_arrives_starts_when_the_gate_opens_in_the_order_of_arrival(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=1)
        bench.receive(body(1))
        bench.receive(body(2))
        await until(lambda: gate.inside == [1])
        bench.gate.shut(RequeueReason.PAUSED)
        bench.receive(body(3))
        gate.let_out(3)
        await until(lambda: bench.intake.held == 2)
        assert gate.started == [1]
        bench.gate.open(RequeueReason.PAUSED)
        await bench.idle()
        assert gate.started == [1, 2, 3]

    async def test_a_stop_while_it_is_shut_gives_back_at_once(self) -> None:
        bench = Bench(ending(None))
        bench.gate.shut(RequeueReason.PAUSED, 20.0)
        bench.intake.stop()
        bench.intake.give_back()
        assert bench.receive().answers == [("REQ", 0.0)]
        assert bench.meter.requeues == {"shutdown": 1}


class TestNotStarted:
    """What cannot be started is held as long as nsqd lets it, and then given back."""

    @pytest.mark.parametrize(
        ("reason", "for_s", "delay_s"),
        [
            pytest.param(RequeueReason.PAUSED, math.inf, 900.0, id="a pause that nobody knows the end of"),
            pytest.param(RequeueReason.PAUSED, 1000.0, 102.0, id="a pause, for what is left of it"),
            pytest.param(RequeueReason.KILL_SWITCH, 1000.0, 102.0, id="an open kill switch"),
            pytest.param(RequeueReason.BREAKER_OPEN, 1000.0, 102.0, id="an open breaker"),
            pytest.param(RequeueReason.DEAD_LETTER_FAILED, math.inf, 900.0, id="a block"),
        ],
    )
    async def test_it_is_requeued_by_the_reason_that_kept_it(
        self, hours: VirtualClock, reason: RequeueReason, for_s: float, delay_s: float
    ) -> None:
        bench = Bench(ending(None), now_s=hours.now_s)
        bench.gate.shut(reason, for_s)
        message = await bench.run()
        ((answer, asked_s),) = message.answers
        assert (answer, round(asked_s, 6)) == ("REQ", delay_s)
        assert bench.reason == reason
        assert bench.journal.count(("TOUCH", message.id)) == 28, "at 30, 60, … 840 s"

    async def test_of_several_reasons_it_is_the_one_that_ends_last(self, hours: VirtualClock) -> None:
        bench = Bench(ending(None), now_s=hours.now_s)
        bench.gate.shut(RequeueReason.KILL_SWITCH, 2000.0)
        bench.gate.shut(RequeueReason.PAUSED, 1000.0)
        await bench.run()
        assert bench.reason == "kill_switch"

    async def test_what_found_no_slot_in_time_comes_back_at_once(self, hours: VirtualClock) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate, timeout_s=880), slots=1, now_s=hours.now_s)
        bench.receive(body(1))
        waiting = bench.receive(body(2), max_lease_s=300.0)
        await passed(hours, 299.0)
        assert waiting.answers == [("REQ", 0.0)]
        assert gate.started == [1]

    async def test_what_waits_on_a_connection_that_is_lost_is_given_up(self, hours: VirtualClock) -> None:
        bench = Bench(ending(None), now_s=hours.now_s)
        bench.gate.shut(RequeueReason.PAUSED)
        await bench.run(is_connected=False)
        assert bench.outcome == "lease_lost"
        assert hours.elapsed_s <= 30.0

    async def test_one_whose_lease_ends_with_that_of_the_last_slot_has_one_outcome(
        self, hours: VirtualClock
    ) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=1, now_s=hours.now_s)
        bench.receive(body(1))
        bench.receive(body(2))
        await until(lambda: gate.inside == [1])
        hours._now_s += 70.0
        await passed(hours, 1.0)
        assert bench.meter.outcomes == {"lease_lost": 1}
        gate.let_out()
        await bench.idle()


class TestRedelivered:
    """The same message once more, while its earlier delivery is held: nsqd's time for that is over."""

    @pytest.mark.parametrize("keeps", ["a shut gate", "a taken slot"])
    async def test_what_has_not_started_is_lost_and_the_later_takes_its_place(self, keeps: str) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate), slots=1)
        if keeps == "a shut gate":
            bench.gate.shut(RequeueReason.PAUSED)
        else:
            bench.receive(body(1))
            await until(lambda: gate.inside == [1])
        earlier = bench.receive(body(2))
        later = bench.redeliver(earlier)
        assert bench.meter.outcomes == {"lease_lost": 1}
        gate.let_out(2)
        bench.gate.open(RequeueReason.PAUSED)
        await bench.idle()
        assert gate.started.count(2) == 1
        assert (earlier.answers, later.answers) == ([], [("FIN",)])

    @pytest.mark.parametrize(
        ("outcome", "calls", "label"),
        [
            pytest.param(None, 1, "duplicate", id="a success is not repeated"),
            pytest.param(Discard("x"), 1, "duplicate", id="nor is a discard"),
            pytest.param(ValueError("x"), 2, "requeue", id="a failure is"),
            pytest.param(Requeue(3), 2, "requeue", id="so is a requeue"),
            pytest.param(DeadLetter("x"), 2, "dead_letter", id="and a dead letter that was not sent"),
        ],
    )
    async def test_it_waits_for_the_one_that_runs_and_follows_from_its_end(
        self, outcome: object, calls: int, label: str
    ) -> None:
        gate = Gate()

        async def behave(event: Happened, ctx: Context) -> Any:
            await gate(event, ctx)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        bench = Bench(asynchronous(behave), slots=2)
        earlier = bench.receive()
        await until(lambda: gate.inside == [1])
        later = bench.redeliver(earlier)
        await turns()
        assert gate.inside == [1], "they do not run side by side"
        gate.let_out(calls)
        await bench.idle()
        assert len(gate.started) == calls
        assert earlier.answers == []
        assert bench.meter.outcomes == {"lease_lost": 1, label: 1}
        assert len(later.answers) == 1

    async def test_a_success_that_published_nothing_of_its_own_is_not_done(self) -> None:
        gate = Gate()

        async def publish(event: Happened, ctx: Context) -> None:
            ctx.publish(Happened(7))
            await gate(event, ctx)

        bench = Bench(asynchronous(publish))
        earlier = bench.receive()
        await until(lambda: gate.inside == [1])
        bench.redeliver(earlier)
        gate.let_out(2)
        await bench.idle()
        assert gate.started == [1, 1]
        assert bench.meter.outcomes == {"lease_lost": 1, "success": 1}
        assert len(bench.publishes.published) == 1

    @pytest.mark.parametrize(("is_confirmed", "label"), [(True, "duplicate"), (False, "dead_letter")])
    async def test_it_waits_for_a_dead_letter_that_is_under_way(
        self,
        is_confirmed: bool,  # noqa: FBT001 - a case
        label: str,
    ) -> None:
        bench = Bench(ending(DeadLetter("x")))
        bench.publishes.gate = asyncio.Event()
        earlier = bench.receive()
        await until(lambda: ("publish", "consumed.work.dead") in bench.journal)
        later = bench.redeliver(earlier)
        if not is_confirmed:
            bench.publishes.failures.append(unconfirmed())
        bench.publishes.gate.set()
        await bench.idle()
        assert earlier.answers == []
        assert later.answers == [("FIN",)]
        assert bench.meter.outcomes == {"lease_lost": 1, label: 1}
        assert len(bench.publishes.published) == 1

    async def test_of_two_that_wait_the_first_is_lost(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate))
        first = bench.receive()
        await until(lambda: gate.inside == [1])
        second = bench.redeliver(first)
        third = bench.redeliver(second)
        await turns()
        assert bench.meter.outcomes == {"lease_lost": 1}
        gate.let_out()
        await bench.idle()
        assert (first.answers, second.answers, third.answers) == ([], [], [("FIN",)])
        assert bench.meter.outcomes == {"lease_lost": 2, "duplicate": 1}
        assert gate.started == [1]

    async def test_what_comes_again_after_its_end_is_handled_again(self) -> None:
        """What is settled is forgotten: a FIN that came too late for nsqd is not known of here."""
        bench = Bench(ending(None))
        message = await bench.run()
        again = bench.redeliver(message)
        await bench.idle()
        assert again.answers == [("FIN",)]
        assert bench.meter.outcomes == {"success": 2}

    @pytest.mark.parametrize(
        ("outcome", "answer"), [(None, ("FIN",)), (ValueError("x"), ("REQ", 0.0))], ids=["done", "failed"]
    )
    async def test_during_a_drain_it_waits_too(self, outcome: object, answer: tuple[Any, ...]) -> None:
        gate = Gate()

        async def behave(event: Happened, ctx: Context) -> None:
            await gate(event, ctx)
            if isinstance(outcome, BaseException):
                raise outcome

        bench = Bench(asynchronous(behave))
        earlier = bench.receive()
        await until(lambda: gate.inside == [1])
        later = bench.redeliver(earlier)
        bench.intake.stop()
        bench.intake.give_back()
        assert later.answers == []
        gate.let_out()
        await bench.idle()
        assert gate.started == [1]
        assert later.answers == [answer]

    async def test_while_the_earlier_runs_it_is_kept_for_one_lease_and_then_given_back(
        self, hours: VirtualClock
    ) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate, timeout_s=880), now_s=hours.now_s)
        earlier = bench.receive(received_s=hours.now_s())
        await until(lambda: gate.inside == [1])
        later = bench.redeliver(earlier, max_lease_s=300.0)
        await passed(hours, 59.0)
        assert later.answers == []
        await passed(hours, 1.0)
        assert later.answers == [("REQ", 0.0)], "another worker may take it"
        assert bench.journal.count(("TOUCH", later.id)) == 1
        gate.let_out()
        await bench.idle()
        assert bench.meter.outcomes == {"lease_lost": 1, "requeue": 1}

    async def test_when_the_drain_cancels_handlers_it_is_given_back(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate))
        earlier = bench.receive()
        await until(lambda: gate.inside == [1])
        later = bench.redeliver(earlier)
        bench.intake.stop()
        bench.intake.give_back()
        bench.intake.cancel()
        assert later.answers == [("REQ", 0.0)]
        await bench.idle()

    @pytest.mark.parametrize("other", [{"topic": "consumed.work.retry"}, {"address": "other:4150"}], ids=str)
    async def test_the_same_id_from_elsewhere_is_another_message(self, other: dict[str, Any]) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate))
        bench.receive(id_=b"1" * 16)
        bench.receive(id_=b"1" * 16, **other)
        await until(lambda: len(gate.inside) == 2)
        gate.let_out(2)
        await bench.idle()
        assert bench.meter.outcomes == {"success": 2}


class TestRateLimit:
    """No more start per second than the limit says, in the order of their arrival."""

    async def test_a_burst_starts_at_once_and_the_rest_at_its_rate(self, hours: VirtualClock) -> None:
        starts: list[tuple[int, float]] = []

        async def note(event: Happened, ctx: Context) -> None:
            starts.append((event.n, hours.elapsed_s))

        bench = Bench(asynchronous(note, rate_limit=RateLimit(2.0, burst=3)), now_s=hours.now_s)
        for n in range(6):
            bench.receive(body(n))
        await until(lambda: len(starts) == 3)
        assert bench.intake.is_rate_limited
        await bench.idle()
        assert starts == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.5), (4, 1.0), (5, 1.5)]

    async def test_a_gate_that_is_shut_meanwhile_holds_them_up_and_loses_none(
        self, hours: VirtualClock
    ) -> None:
        bench = Bench(ending(None, rate_limit=RateLimit(1.0)), now_s=hours.now_s)
        for n in range(3):
            bench.receive(body(n))
        await passed(hours, 0.5)
        bench.gate.shut(RequeueReason.PAUSED, 10.0)
        await passed(hours, 5.0)
        assert bench.meter.outcomes == {"success": 1}
        await bench.idle()
        assert bench.meter.outcomes == {"success": 3}
        assert hours.elapsed_s == pytest.approx(11.5)

    async def test_what_it_kept_too_long_is_requeued_by_that_reason(self, hours: VirtualClock) -> None:
        bench = Bench(ending(None, rate_limit=RateLimit(0.001)), now_s=hours.now_s)
        bench.receive()
        waiting = bench.receive()
        await bench.idle()
        assert waiting.answers == [("REQ", 0.0)]
        assert bench.meter.requeues == {"rate_limited": 1}

    async def test_a_stop_gives_back_what_it_kept_and_leaves_no_timer(self, hours: VirtualClock) -> None:
        bench = Bench(ending(None, rate_limit=RateLimit(0.001)), now_s=hours.now_s)
        bench.receive()
        waiting = bench.receive()
        await until(lambda: bench.intake.is_rate_limited)
        bench.intake.stop()
        bench.intake.give_back()
        assert waiting.answers == [("REQ", 0.0)]
        bench.gate.close()
        bench.intake.close()
        assert timers() == []


class Touchy:
    """A value that cannot be compared, as arrays cannot."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("compare my elements")

    __hash__ = None  # type: ignore[assignment]


COLOUR: contextvars.ContextVar[object] = contextvars.ContextVar("colour", default="none")


class TestCarriers:
    """One task carries several deliveries, and none of them notices."""

    @pytest.mark.parametrize("waits", [False, True])
    async def test_a_context_variable_that_a_handler_leaves_set_is_not_seen_by_the_next(
        self,
        waits: bool,  # noqa: FBT001 - a case
    ) -> None:
        seen: list[object] = []

        async def paint(event: Happened, ctx: Context) -> None:
            seen.append(COLOUR.get())
            COLOUR.set(f"n={event.n}")
            if waits:
                await turns()
            assert COLOUR.get() == f"n={event.n}"

        bench = Bench(asynchronous(paint), slots=2)
        for n in range(6):
            bench.receive(body(n))
        await bench.idle()
        assert seen == ["none"] * 6

    async def test_values_that_cannot_be_compared_hold_nobody_up(self) -> None:
        seen: list[object] = []

        async def paint(event: Happened, ctx: Context) -> None:
            seen.append(COLOUR.get())
            COLOUR.set(Touchy())

        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        token = COLOUR.set(Touchy())
        bench = Bench(asynchronous(paint), slots=1)
        COLOUR.reset(token)
        for n in range(3):
            bench.receive(body(n))
        await bench.idle()
        assert [type(value) for value in seen] == [Touchy] * 3
        assert seen[0] is seen[1] is seen[2], "what was set before all of them"
        bench.told.clear()  # which keeps tasks, and so what nobody asked them about
        gc.collect()
        assert failures == []

    async def test_a_handler_that_never_waits_costs_no_task_of_its_own(self) -> None:
        carriers: set[object] = set()

        async def note(event: Happened, ctx: Context) -> None:
            carriers.add(asyncio.current_task())

        bench = Bench(asynchronous(note))
        for n in range(10):
            bench.receive(body(n))
        await bench.idle()
        assert len(carriers) == 1

    async def test_those_that_wait_side_by_side_have_tasks_of_their_own(self) -> None:
        gate = Gate()
        carriers: list[object] = []

        async def note(event: Happened, ctx: Context) -> None:
            carriers.append(asyncio.current_task())
            await gate(event, ctx)
            assert asyncio.current_task() is carriers[event.n]

        bench = Bench(asynchronous(note), slots=3)
        for n in range(3):
            bench.receive(body(n))
        await until(lambda: len(gate.inside) == 3)
        gate.let_out(3)
        await bench.idle()
        assert len(set(carriers)) == 3

    async def test_a_cancellation_hits_the_delivery_that_is_carried_and_no_other(self) -> None:
        gate = Gate()
        tasks: dict[int, asyncio.Task[Any]] = {}

        async def note(event: Happened, ctx: Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks[event.n] = task
            await gate(event, ctx)

        bench = Bench(asynchronous(note), slots=2)
        messages = [bench.receive(body(n)) for n in range(4)]
        await until(lambda: len(gate.inside) == 2)
        tasks[0].cancel()
        gate.let_out(4)
        await bench.idle()
        assert [message.answers for message in messages] == [[("REQ", 2.0)], *[[("FIN",)]] * 3]

    @pytest.mark.parametrize("waits", [True, False])
    async def test_a_handler_that_cancels_itself_cancels_nobody_else(
        self,
        waits: bool,  # noqa: FBT001 - a case
    ) -> None:
        async def work(event: Happened, ctx: Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            if event.n == 0:
                task.cancel()
                if waits:
                    await turns()
                return
            assert task.cancelling() == 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            async with asyncio.TaskGroup() as group:
                group.create_task(turns())

        bench = Bench(asynchronous(work), slots=1)
        messages = [bench.receive(body(n)) for n in range(3)]
        await bench.idle()
        assert [message.answers for message in messages[1:]] == [[("FIN",)]] * 2
        assert len(messages[0].answers) == 1

    async def test_a_handler_that_cancels_itself_and_is_settled_later_has_an_outcome(self) -> None:
        async def work(event: Happened, ctx: Context) -> Outcome:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return DeadLetter("x")

        bench = Bench(asynchronous(work))
        bench.publishes.gate = asyncio.Event()
        bench.publishes.gate.set()
        bench.publishes.takes_a_turn = True
        message = await bench.run()
        assert len(message.answers) == 1

    @pytest.mark.parametrize("waits_before", [True, False])
    async def test_a_handlers_own_timeout_is_its_own(
        self,
        hours: VirtualClock,
        waits_before: bool,  # noqa: FBT001 - a case
    ) -> None:
        async def work(event: Happened, ctx: Context) -> Outcome:
            if waits_before:
                await turns()
            try:
                async with asyncio.timeout(5.0):
                    await asyncio.Event().wait()
            except TimeoutError:
                return Discard("own")
            raise AssertionError

        bench = Bench(asynchronous(work, timeout_s=20.0), now_s=hours.now_s)
        await bench.run()
        assert bench.outcome == "discard"
        assert hours.elapsed_s == 5.0

    @pytest.mark.parametrize("waits_before", [True, False])
    async def test_a_handlers_own_longer_timeout_does_not_hide_nsqkits(
        self,
        hours: VirtualClock,
        waits_before: bool,  # noqa: FBT001 - a case
    ) -> None:
        async def work(event: Happened, ctx: Context) -> None:
            if waits_before:
                await turns()
            async with asyncio.timeout(500.0):
                await asyncio.Event().wait()

        bench = Bench(asynchronous(work, timeout_s=20.0), now_s=hours.now_s)
        await bench.run()
        assert bench.reason == "timeout"
        assert hours.elapsed_s == 20.0

    @pytest.mark.parametrize("waits_before", [True, False])
    async def test_a_task_group_of_a_handler_ends_with_its_timeout(
        self,
        hours: VirtualClock,
        waits_before: bool,  # noqa: FBT001 - a case
    ) -> None:
        ended: list[str] = []

        async def child() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("child")

        async def work(event: Happened, ctx: Context) -> None:
            if waits_before:
                await turns()
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                group.create_task(child())

        bench = Bench(asynchronous(work, timeout_s=20.0), now_s=hours.now_s)
        await bench.run()
        assert bench.reason == "timeout"
        assert ended == ["child", "child"]

    async def test_a_failing_task_group_is_a_failure_and_leaves_its_carrier_as_it_was(self) -> None:
        async def fail() -> None:
            raise ValueError("child")

        async def work(event: Happened, ctx: Context) -> None:
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()

        bench = Bench(asynchronous(work), slots=1)
        for n in range(3):
            bench.receive(body(n))
        await bench.idle()
        assert bench.meter.errors == {"ValueError": 3}

    async def test_a_handler_that_raises_before_it_waits_frees_its_slot_at_once(self) -> None:
        async def fail(event: Happened, ctx: Context) -> None:
            raise StopAsyncIteration

        bench = Bench(asynchronous(fail), slots=1)
        for n in range(5):
            bench.receive(body(n))
        await bench.idle()
        assert bench.meter.requeues == {"error": 5}

    async def test_a_log_that_fails_leaves_nobody_waiting(self) -> None:
        """Its own message is counted out by its lease; all others go on."""
        bench = Bench(ending(Discard("x")), slots=1)
        info = bench.log.info

        def fail_once(event: str, **fields: object) -> None:
            bench.log.info = info  # type: ignore[method-assign]
            raise OSError("disk full")

        bench.log.info = fail_once  # type: ignore[method-assign]
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        messages = [bench.receive(body(n)) for n in range(3)]
        await until(lambda: not bench.intake.held)
        assert [message.answers for message in messages] == [[("FIN",)]] * 3


class TestSettlingIsKept:
    """What is being settled is touched too."""

    async def test_a_dead_letter_that_takes_longer_than_the_lease_is_not_lost(
        self, hours: VirtualClock
    ) -> None:
        bench = Bench(ending(DeadLetter("x"), timeout_s=1.0), now_s=hours.now_s)
        bench.publishes.gate = asyncio.Event()
        message = bench.receive(lease_s=2.0)
        await passed(hours, 30.0)
        bench.publishes.gate.set()
        await bench.idle()
        assert bench.outcome == "dead_letter"
        assert message.answers == [("FIN",)]

    async def test_so_is_the_one_of_a_handler_that_took_all_its_time(self, hours: VirtualClock) -> None:
        async def hang(event: Happened, ctx: Context) -> None:
            await asyncio.Event().wait()

        bench = Bench(asynchronous(hang, timeout_s=3.0), now_s=hours.now_s)
        bench.publishes.gate = asyncio.Event()
        message = bench.receive(lease_s=2.0, attempts=5)
        await passed(hours, 30.0)
        bench.publishes.gate.set()
        await bench.idle()
        assert (bench.outcome, bench.reason) == ("dead_letter", "exhausted")
        assert message.answers == [("FIN",)]

    async def test_and_the_events_of_a_success(self, hours: VirtualClock) -> None:
        async def publish(event: Happened, ctx: Context) -> None:
            await asyncio.sleep(2.9)  # the handler's work, in virtual time
            ctx.publish(Happened(2))

        bench = Bench(asynchronous(publish, timeout_s=3.0), now_s=hours.now_s)
        bench.publishes.gate = asyncio.Event()
        bench.receive(lease_s=2.0)
        await passed(hours, 30.0)
        bench.publishes.gate.set()
        await bench.idle()
        assert bench.outcome == "success"


class TestTrial:
    """While the gate is on trial, whatever does not reach the handler makes room for another one."""

    @pytest.mark.parametrize(
        ("raw", "options"),
        [
            pytest.param(b"nonsense", {}, id="undecodable"),
            pytest.param(UNKNOWN, {}, id="an unknown type"),
            pytest.param(body(1), {"timestamp_ns": 1}, id="expired"),
            pytest.param(body(1), {"attempts": 99}, id="a crash suspect"),
        ],
    )
    async def test_one_more_is_asked_for(self, raw: bytes, options: dict[str, Any]) -> None:
        bench = Bench(ending(None), rules=Rules(POLICY, max_age_s=500.0))
        bench.gate.probe(1)
        assert bench.flows == [Flow.TRIAL]
        await bench.run(raw, **options)
        assert bench.flows.count(Flow.TRIAL) == 2

    async def test_also_for_a_duplicate(self) -> None:
        gate = Gate()
        bench = Bench(asynchronous(gate))
        earlier = bench.receive()
        await until(lambda: gate.inside == [1])
        bench.redeliver(earlier)
        await turns()
        bench.gate.probe(1)
        gate.let_out()
        await bench.idle()
        assert bench.flows.count(Flow.TRIAL) == 2


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
        assert message.is_forgotten, "nsqd holds it here no more"
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
                    "action": "bench.happened.v1",
                    "attempts": 2,
                    "user_id": "u-1",
                },
            ),
        ]

    async def test_the_time_that_remains_is_the_timeouts(self) -> None:
        ctx, _ = await self.seen(keywords={"timeout_s": 20})
        assert ctx.remaining_s() == 20.0

    async def test_the_time_that_remains_is_nsqds_longest_lease_where_that_is_shorter(self) -> None:
        ctx, _ = await self.seen(keywords={"timeout_s": 20}, lease_s=10.0, max_lease_s=11.0)
        assert ctx.remaining_s() == 10.0

    async def test_a_handler_on_the_loop_is_bounded_by_the_lease_alone(self) -> None:
        found: list[float] = []
        bench = Bench(plain(lambda _, ctx: found.append(ctx.remaining_s()), run_on_loop=True))
        await bench.run()
        assert found == [899.0]


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


class TestMemory:
    """What has ended is freed at once: left to the garbage collector, a message costs a sixth more."""

    @pytest.fixture
    def no_collector(self) -> Iterator[None]:
        gc.disable()
        yield
        gc.enable()

    @pytest.mark.usefixtures("no_collector")
    @pytest.mark.parametrize("outcome", [None, Requeue(1), DeadLetter()], ids=repr)
    async def test_no_circle_keeps_a_message_whose_handler_returned(self, outcome: object) -> None:
        bench = Bench(ending(outcome))
        message = weakref.ref(await bench.run())
        bench.told.clear()
        assert message() is None


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
    GeneratorExit(),
    KeyboardInterrupt(),
    ExceptionGroup("g", [ValueError("x"), BreakerOpenError("shop", 20.0)]),
    "no outcome",
    "publishes",
    "waits",
    "sleeps",
    BreakerOpenError("shop", 20.0),
)

received = st.fixed_dictionaries(
    {
        "raw": st.one_of(
            st.integers(0, len(BEHAVIOURS) - 1).map(body), st.sampled_from([b"nonsense", b"\xff", UNKNOWN])
        ),
        "attempts": st.one_of(st.integers(1, 5), st.integers(1, 20)),
        "is_connected": st.integers(0, 9).map(bool),
        "lease_s": st.sampled_from([60.0, 60.0, 10.0, 2.0]),
        "max_lease_s": st.sampled_from([900.0, 100.0, 1.0]),
        "timestamp_ns": st.integers(0, 9).map(lambda young: NOW_NS if young else NOW_NS - 10**12),
    }
)
shut = st.tuples(
    st.sampled_from([RequeueReason.PAUSED, RequeueReason.KILL_SWITCH, RequeueReason.BREAKER_OPEN]),
    st.sampled_from([1.0, 50.0, 2000.0, math.inf]),
)
step = st.one_of(
    received,
    received,
    received,
    st.sampled_from(["turn", "turn", "turn", "release", "pass 1", "pass 1", "pass 20", "pass 500", "block"]),
    st.sampled_from(["refuse", "unconfirm", "no channel", "disconnect", "turn", "pass 1", "pass 20"]),
    st.sampled_from(["open", "open", "open", "narrow", "wide", "turn"]),
    shut,
    st.integers(0, 7).map(lambda index: ("redeliver", index)),
)
steps = st.tuples(
    st.lists(step, min_size=8, max_size=60),
    st.lists(st.sampled_from(["stop", "give back", "cancel"]), max_size=2),
    st.lists(step, max_size=8),
).map(lambda parts: [each for part in parts for each in part])


class StrictMessage(FakeMessage):
    """A delivery whose nsqd knows until when it takes an answer."""

    def __init__(self, *args: Any, now_s: Callable[[], float], **options: Any) -> None:
        super().__init__(*args, **options)
        self.now_s = now_s
        self.until_s = self.received_s + self.lease_s
        self.is_redelivered = False

    def touch(self) -> bool:
        if super().touch():
            self.require_ours()
            cap_s = self.received_s + max(self.lease_s, self.max_lease_s)
            self.until_s = min(self.now_s() + self.lease_s, cap_s)
        return self.is_connected

    def _answer(self, *answer: Any) -> bool:
        if self.is_connected:
            self.require_ours()
        return super()._answer(*answer)

    def require_ours(self) -> None:
        assert not self.is_redelivered
        assert self.now_s() < self.until_s


class Scenario:
    """One run of arbitrary messages, failures and operations."""

    def __init__(
        self, slots: int, hours: VirtualClock, rate_limit: RateLimit | None, most: int | None = None
    ) -> None:
        self.slots = slots
        self.most = most or slots
        self.hours = hours
        self.running: dict[str, Context] = {}
        self.gate = asyncio.Event()
        rules = Rules(POLICY, max_age_s=500.0, max_delay_s=900.0)
        handler = self.make_handler(**({"rate_limit": rate_limit} if rate_limit else {}))
        self.bench = Bench(handler, rules=rules, slots=slots, most=most, now_s=hours.now_s)
        self.messages: list[StrictMessage] = []
        self.failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.failures.append(context))

    def make_handler(self, **options: Any) -> Handler[Happened]:
        return asynchronous(self.behave, **options)

    async def behave(self, event: Happened, ctx: Context) -> Any:
        assert ctx.message_id not in self.running, "two deliveries of one message"
        if ctx.attempts > POLICY.max_attempts:
            assert all(other.lease_lost for other in self.running.values()), "it is alone"
        self.running[ctx.message_id] = ctx
        assert len(self.running) <= self.slots
        try:
            return await self.act(BEHAVIOURS[event.n], ctx)
        finally:
            del self.running[ctx.message_id]

    async def act(self, what: object, ctx: Context) -> Any:
        if isinstance(what, BaseException):
            raise what
        match what:
            case "publishes":
                return ctx.publish(Happened(0))
            case "waits":
                return await self.wait(ctx)
            case "sleeps":
                return await asyncio.sleep(ctx.attempts * 10.0)  # in virtual time
        return what

    async def wait(self, ctx: Context) -> None:
        await self.gate.wait()

    def receive(self, raw: bytes, **options: Any) -> None:
        now_s = self.hours.now_s
        known = {"id_": b"%016x" % len(self.messages), "received_s": now_s(), "journal": self.bench.journal}
        message = StrictMessage(raw, now_s=now_s, **(known | options))
        self.messages.append(message)
        self.bench.intake.receive([message])

    def redeliver(self, index: int) -> None:
        """Deliver a message again whose time was over for nsqd, though it may not look so from here."""
        if (open_ := [each for each in self.messages if not (each.answers or each.is_redelivered)]) != []:
            message = open_[index % len(open_)]
            message.is_redelivered = True
            self.receive(message.body, id_=message.id, attempts=message.attempts + 1)

    async def step(self, step: Any) -> None:  # noqa: C901, PLR0912 - one case an operation
        bench = self.bench
        match step:
            case "turn":
                await turns()
            case "release":
                self.release()
            case "pass 1" | "pass 20" | "pass 500":
                await passed(self.hours, float(step.split()[1]))
            case "block":
                self.hours._now_s += 45.0
            case "refuse":
                bench.publishes.failures.append(refused())
            case "unconfirm":
                bench.publishes.failures.append(unconfirmed())
            case "no channel":
                bench.publishes.channel_failures.append(refused())
            case "disconnect":
                for message in self.messages:
                    message.is_connected = False
            case "open":
                self.open()
            case "narrow" | "wide":
                bench.gate.probe(1 if step == "narrow" else None)
            case "stop":
                bench.intake.stop()
            case "give back":
                bench.intake.stop()
                bench.intake.give_back()
            case "cancel":
                bench.intake.stop()
                bench.intake.give_back()
                bench.intake.cancel()
            case ("redeliver", index):
                self.redeliver(index)
            case (reason, for_s):
                bench.gate.shut(reason, for_s)
            case _:
                self.receive(**step)

    def release(self) -> None:
        self.gate.set()

    def open(self) -> None:
        for reason in RequeueReason:
            self.bench.gate.open(reason)

    def check(self) -> None:
        meter, intake = self.bench.meter, self.bench.intake
        assert meter.is_balanced
        assert meter.n_in_flight == intake.held
        assert intake._slots.running <= self.most
        assert self.failures == []

    def check_end(self) -> None:
        outcomes, messages = self.bench.meter.outcomes, self.messages
        answers = [answer[0] for message in messages for answer in message.answers]
        finished = sum(outcomes[label] for label in ("success", "dead_letter", "discard", "duplicate"))
        assert answers.count("FIN") == finished
        assert answers.count("REQ") == outcomes["requeue"]
        assert len(messages) - len(answers) == outcomes["lease_lost"]
        told = outcomes.total() - outcomes["success"]
        assert len(self.bench.log.settled()) == told, "each has one line, but the successes"
        delays = [answer[1] for message in messages for answer in message.answers if answer[0] == "REQ"]
        assert all(0 <= delay_s <= 900 for delay_s in delays)
        assert not self.bench.intake._held.count
        assert not self.bench.intake._quarantine.is_on

    async def play(self, steps: list[Any]) -> None:
        for step in steps:
            await self.step(step)
            self.check()
        self.release()
        self.open()
        self.bench.gate.probe(None)
        if self.bench.intake._processor.is_stopping:
            self.bench.intake.give_back()
        await self.bench.idle()
        self.check()
        self.check_end()
        self.bench.gate.close()
        self.bench.intake.close()
        self.bench.dispatcher.close()
        assert timers() == []


@given(
    steps=steps, slots=st.integers(1, 4), rate_limit=st.sampled_from([None, RateLimit(0.1), RateLimit(0.004)])
)
def test_received_is_the_sum_of_outcomes_and_in_flight_at_every_step(
    steps: list[Any], slots: int, rate_limit: RateLimit | None
) -> None:
    """And nothing lost is answered or touched, no message runs twice at a time, and suspects run alone."""

    async def run() -> None:
        hours = VirtualClock(lambda: False, outside_wait_s=0.0)
        hours.start()
        try:
            await Scenario(slots, hours, rate_limit).play(steps)
        finally:
            hours.stop()

    asyncio.run(run())


def test_the_scenarios_handlers_have_every_outcome_there_is() -> None:
    named = {type(each) for each in BEHAVIOURS}
    assert named > {Finish, Discard, DeadLetter, Requeue, Pause}
    assert {field.name for field in dataclasses.fields(Rules)} >= {"max_age_s", "max_delay_s"}
