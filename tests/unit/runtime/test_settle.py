"""Settle: a verdict is carried out in order, and what cannot be carried out loses no message."""

import asyncio
import dataclasses
from typing import Any

import pytest

from nsqkit import (
    Context,
    DeadLetter,
    Discard,
    Exponential,
    Finish,
    Handler,
    Pause,
    PublishError,
    Requeue,
    RetryPolicy,
    __version__,
    event,
)
from nsqkit.handler.outgoing import Outgoing
from nsqkit.policy.verdict import (
    SHUTDOWN,
    SUCCESS,
    DeadLetterReason,
    OutcomeLabel,
    RequeueReason,
    Rules,
    Verdict,
    on_stored,
)
from tests.unit.runtime.bench import (
    NSQD,
    POLICY,
    Bench,
    FakeMessage,
    Happened,
    asynchronous,
    delivery,
    ending,
    refused,
    refused_with,
    unconfirmed,
    until,
)

DEAD = "consumed.work.dead"
EXHAUSTED = Verdict(OutcomeLabel.DEAD_LETTER, DeadLetterReason.EXHAUSTED, detail="gave up")
REFUSAL = PublishError("t", NSQD, "E_BAD_TOPIC", True)


@event("settle.noted", version=1, topic="notes")
@dataclasses.dataclass
class Noted:
    text: str


def noting(*texts: str, then: object = None) -> Handler[Happened]:
    """Return a handler that publishes and then ends like this."""

    async def behave(_: Happened, ctx: Context) -> Any:
        for text in texts:
            ctx.publish(Noted(text))
        if isinstance(then, Exception):
            raise then
        return then

    return asynchronous(behave)


class TestDeadLetters:
    """A dead letter is published, confirmed, and only then is its message finished."""

    async def test_the_channel_is_made_first_then_it_is_published_and_only_then_finished(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        await bench.run()
        assert bench.journal == [
            ("channel", DEAD, "dead"),
            ("publish", DEAD),
            ("confirmed", DEAD),
            ("FIN",),
        ]

    async def test_it_goes_to_the_messages_own_nsqd(self) -> None:
        bench = Bench(ending(DeadLetter()))
        await bench.run()
        ((address, topic, _, defer_s),) = bench.publishes.published
        assert (address, topic, defer_s) == (NSQD, DEAD, 0.0)

    async def test_the_record_says_what_is_known(self) -> None:
        bench = Bench(ending(ValueError("card 4111 1111 1111 1111")))
        await bench.run(attempts=5)
        record = bench.publishes.record
        assert record.pop("stack").startswith("Traceback")
        assert record.pop("dead_at").endswith("Z")
        assert record == {
            "type": "nsqkit.dead_letter.v1",
            "body": '{"n": 1}',
            "body_base64": None,
            "reason": "exhausted",
            "detail": "ValueError: card [redacted]",
            "error_type": "ValueError",
            "attempts": 5,
            "message_id": "0000000000000001",
            "published_at": "2023-11-14T22:13:20.000000Z",
            "topic": "consumed",
            "channel": "work",
            "handler": "Scripted",
            "event_type": "bench.happened.v1",
            "event_id": None,
            "traceparent": None,
            "nsqkit_version": __version__,
        }

    async def test_the_record_keeps_the_envelopes_id_and_the_creating_trace(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        await bench.run(
            b'{"specversion": "1.0", "type": "bench.happened.v1", "source": "s", "id": "e-1", '
            b'"traceparent": "%s", "data": {"n": 1}}' % trace.encode()
        )
        record = bench.publishes.record
        assert (record["event_id"], record["traceparent"]) == ("e-1", trace)
        assert (record["reason"], record["detail"]) == ("requested", "bad")

    @pytest.mark.parametrize(
        ("envelope", "trace"),
        [
            pytest.param(b'"traceparent": "00-ab-cd-01", ', "00-ab-cd-01", id="a text"),
            pytest.param(b'"traceparent": 7, ', None, id="no text"),
            pytest.param(b"", None, id="none"),
        ],
    )
    async def test_an_undecodable_event_keeps_the_creating_trace_too(
        self, envelope: bytes, trace: str | None
    ) -> None:
        bench = Bench(ending(None))
        await bench.run(
            b'{"specversion": "1.0", "type": "bench.happened.v1", "id": "e-1", "source": "s", '
            + envelope
            + b'"data": {"n": "x"}}'
        )
        assert (bench.publishes.record["reason"], bench.publishes.record["traceparent"]) == (
            "undecodable",
            trace,
        )

    async def test_what_the_handler_said_is_redacted(self) -> None:
        bench = Bench(ending(DeadLetter("password=hush")))
        await bench.run()
        assert bench.publishes.record["detail"] == "password=[redacted]"
        assert "hush" not in repr(bench.log.lines)

    @pytest.mark.parametrize("at", ["channel", "publish"])
    async def test_what_nsqd_does_not_confirm_is_requeued(self, at: str) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        failures = bench.publishes.channel_failures if at == "channel" else bench.publishes.failures
        failures.append(unconfirmed())
        message = await bench.run(attempts=2)
        assert (bench.outcome, bench.reason) == ("requeue", "dead_letter_failed")
        assert message.answers == [("REQ", 4.0)]
        assert bench.meter.dead_letters == {}
        assert bench.blocks == []
        (line,) = bench.log.settled()
        assert line["detail"].startswith("requested: bad; topic t: not published")

    async def test_when_it_is_due_again_is_known(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        bench.publishes.failures.append(unconfirmed())
        assert bench.settler._requeues.next_in_s(bench.now_s()) is None
        await bench.run(attempts=2)
        in_s = bench.settler._requeues.next_in_s(bench.now_s())
        assert in_s is not None
        assert 4.0 <= in_s < 5.0

    async def test_it_is_tried_again_for_ever(self) -> None:
        bench = Bench(ending(ValueError("x")))
        bench.publishes.failures.append(unconfirmed())
        message = await bench.run(attempts=65535)
        assert bench.reason == "dead_letter_failed"
        assert message.answers == [("REQ", 100.0)]

    async def test_a_dead_letter_that_can_never_be_published_blocks_the_handler(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        bench.publishes.failures += [refused(), refused()]
        message = await bench.run()
        assert bench.reason == "dead_letter_failed"
        assert message.answers == [("REQ", 2.0)]
        (why,) = bench.blocks
        assert why.startswith("Scripted cannot publish dead letters: topic t: not published")

    async def test_a_record_that_nsqd_refuses_goes_as_the_raw_body_alone(self) -> None:
        """Its max-msg-size may be lower than what was known when the worker started."""
        bench = Bench(ending(DeadLetter("bad")))
        bench.publishes.failures.append(refused())
        message = await bench.run()
        assert bench.outcome == "dead_letter"
        assert bench.publishes.published[-1][2] == message.body
        assert bench.blocks == []

    async def test_only_the_setup_blocks_the_handler(self) -> None:
        """Even the raw body is too large for an nsqd that has restarted with a lower limit."""
        bench = Bench(ending(DeadLetter("bad")))
        bench.publishes.failures += [refused_with("E_BAD_MESSAGE", "PUB message too big 9 > 8")] * 2
        message = await bench.run()
        assert bench.reason == "dead_letter_failed"
        assert message.answers == [("REQ", 2.0)]
        assert bench.blocks == []

    async def test_what_the_setup_forbids_is_not_tried_without_the_record(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        bench.publishes.failures.append(refused_with("E_UNAUTHORIZED"))
        await bench.run()
        assert [each[0] for each in bench.journal] == ["channel", "publish", "REQ"]
        assert len(bench.blocks) == 1
        assert [name for _, name, _ in bench.log.lines] == ["message_settled"]

    async def test_an_auth_server_that_is_away_is_an_outage(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        bench.publishes.failures.append(refused_with("E_AUTH_FAILED", "AUTH failed"))
        await bench.run()
        assert bench.reason == "dead_letter_failed"
        assert bench.blocks == []

    async def test_where_none_are_kept_it_is_discarded(self) -> None:
        bench = Bench(ending(DeadLetter("bad")), rules=Rules(POLICY, keeps_dead_letters=False))
        message = await bench.run()
        assert bench.outcome == "discard"
        assert bench.journal == [("FIN",)]
        assert message.answers == [("FIN",)]

    async def test_a_lease_that_ends_during_the_publish_sends_no_finish(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))

        async def publish(*_: Any, **__: Any) -> None:
            bench.clock.s = 59.0

        bench.publishes.publish = publish  # type: ignore[method-assign]
        message = await bench.run(lease_s=60.0)
        assert bench.outcome == "lease_lost"
        assert message.answers == []
        assert bench.meter.dead_letters == {}, "it is counted when its message ends so"

    async def test_too_large_a_record_goes_without_its_stack(self) -> None:
        bench = Bench(ending(ValueError("x" * 1000)), max_msg_bytes=2000)
        await bench.run(attempts=5)
        assert bench.publishes.record["stack"] == ""
        assert bench.publishes.record["detail"].startswith("ValueError: xxx")
        assert [name for _, name, _ in bench.log.lines] == ["message_settled"]

    async def test_where_even_that_is_too_large_the_raw_body_goes_alone_and_the_rest_to_the_log(self) -> None:
        bench = Bench(ending(DeadLetter("bad")), max_msg_bytes=300)
        raw = b'{"n": 1, "padding": "%s"}' % (b"x" * 250)
        message = await bench.run(raw)
        assert [body for _, _, body, _ in bench.publishes.published] == [raw]
        assert bench.outcome == "dead_letter"
        assert message.answers == [("FIN",)]
        ((level, name, fields), (_, other, _)) = bench.log.lines
        assert (level, name, other) == ("warning", "dead_letter_without_record", "message_settled")
        assert (fields["reason"], fields["detail"], fields["attempts"]) == ("requested", "bad", 1)
        assert "padding" not in repr(bench.log.lines), "a body is never logged"

    async def test_the_record_of_a_large_message_is_as_large_as_its_own_nsqd_takes(self) -> None:
        bench = Bench(ending(DeadLetter("bad")), max_msg_bytes=100_000)
        bench.publishes.limit = 8_000_000
        raw = b'{"n": 1, "padding": "%s"}' % (b"x" * 200_000)
        await bench.run(raw)
        assert bench.publishes.record["body"] == raw.decode()

    async def test_an_nsqd_is_asked_for_its_limit_only_for_a_large_message(self) -> None:
        bench = Bench(ending(DeadLetter("bad")))
        await bench.run()
        assert ("limit", NSQD) not in bench.journal


class TestPublished:
    """What a handler publishes goes out once it has succeeded, and before its message is finished."""

    async def test_everything_is_confirmed_in_order_before_the_finish(self) -> None:
        bench = Bench(noting("a", "b"))
        await bench.run()
        assert bench.journal == [("publish_many", "notes", 2), ("confirmed", "notes"), ("FIN",)]
        assert [b'"a"' in body for _, _, body, _ in bench.publishes.published] == [True, False]
        assert bench.outcome == "success"

    async def test_nothing_is_finished_while_nsqd_has_not_confirmed(self) -> None:
        bench = Bench(noting("a"))
        bench.publishes.gate = asyncio.Event()
        message = bench.receive()
        await until(lambda: bool(bench.journal))
        assert message.answers == []
        bench.publishes.gate.set()
        await bench.idle()
        assert message.answers == [("FIN",)]

    @pytest.mark.parametrize(
        "then", [ValueError("x"), Requeue(1), Pause(1), Discard(), DeadLetter()], ids=repr
    )
    async def test_without_a_success_nothing_of_it_goes_out(self, then: object) -> None:
        bench = Bench(noting("a", then=then))
        await bench.run()
        assert "notes" not in [topic for _, topic, _, _ in bench.publishes.published]
        assert bench.outcome != "success"

    async def test_a_returned_finish_is_a_success_too(self) -> None:
        bench = Bench(noting("a", then=Finish()))
        await bench.run()
        assert len(bench.publishes.published) == 1

    @pytest.mark.parametrize("failure", [unconfirmed(), refused()], ids=["unconfirmed", "refused"])
    async def test_what_nsqd_does_not_confirm_requeues_the_message(self, failure: PublishError) -> None:
        bench = Bench(noting("a", "b"))
        bench.publishes.failures.append(failure)
        message = await bench.run(attempts=2)
        assert (bench.outcome, bench.reason) == ("requeue", "error")
        assert message.answers == [("REQ", 4.0)]
        assert bench.publishes.published == [], "the second is not sent after the first has failed"
        assert bench.log.settled()[0]["error_type"] == "PublishError"
        assert bench.meter.errors == {"PublishError": 1}

    @pytest.mark.parametrize(
        "failure",
        [unconfirmed(), refused(), refused_with("E_UNAUTHORIZED")],
        ids=["unconfirmed", "refused", "forbidden"],
    )
    async def test_events_of_an_outbox_decide_over_no_message(self, failure: PublishError) -> None:
        """They are published later, and the message would only be delivered again."""

        async def behave(_: Happened, ctx: Context) -> None:
            ctx.publish(Noted("a"))
            ctx.outgoing = tuple(dataclasses.replace(each, is_stored=True) for each in ctx.outgoing)

        bench = Bench(asynchronous(behave))
        bench.publishes.failures.append(failure)
        message = await bench.run()
        assert (bench.outcome, message.answers, bench.blocks) == ("success", [("FIN",)], [])
        assert [name for _, name, _ in bench.log.lines] == ["events_left_in_outbox"]

    async def test_what_the_setup_forbids_blocks_the_handler_and_decides_over_no_message(self) -> None:
        bench = Bench(noting("a"))
        bench.publishes.failures.append(refused_with("E_UNAUTHORIZED"))
        message = await bench.run(attempts=5)
        assert (bench.outcome, bench.reason) == ("requeue", "paused")
        assert message.answers == [("REQ", 32.0)]
        (why,) = bench.blocks
        assert why.startswith("Scripted cannot publish its events: topic t: not published")

    async def test_at_the_last_attempt_it_is_a_dead_letter(self) -> None:
        bench = Bench(noting("a"))
        bench.publishes.failures.append(unconfirmed())
        await bench.run(attempts=5)
        assert (bench.outcome, bench.reason) == ("dead_letter", "exhausted")

    async def test_it_is_deferred_as_the_handler_said(self) -> None:
        async def behave(_: Happened, ctx: Context) -> None:
            ctx.publish(Noted("a"), topic="elsewhere", defer_s=5)

        bench = Bench(asynchronous(behave))
        await bench.run()
        ((address, topic, _, defer_s),) = bench.publishes.published
        assert (address, topic, defer_s) == (NSQD, "elsewhere", 5)


class TestClose:
    """The part of settling that needs no waiting."""

    def closed(self, verdict: Verdict, message: FakeMessage | None = None, **options: Any) -> Bench:
        bench = Bench(ending(None), **options)
        bench.meter.received(1)
        bench.settler.settle_now(delivery(message or FakeMessage(journal=bench.journal)), verdict)
        assert bench.meter.is_balanced
        assert bench.meter.n_in_flight == 0
        return bench

    async def test_whoever_asked_is_told_how_each_delivery_ended(self) -> None:
        error = ValueError("no")
        bench = Bench(ending(error), is_observed=True)
        message = await bench.run()
        ((delivery, verdict, behind),) = bench.told
        assert delivery.message is message
        assert (verdict.label, behind) == (OutcomeLabel.REQUEUE, error)

    def test_a_requeue_is_counted_by_its_reason(self) -> None:
        bench = self.closed(Verdict(OutcomeLabel.REQUEUE, RequeueReason.PAUSED, 3.0))
        assert bench.meter.requeues == {"paused": 1}
        assert bench.journal == [("REQ", 3.0)]

    def test_a_delay_that_was_cut_is_counted_and_said(self) -> None:
        bench = self.closed(Verdict(OutcomeLabel.REQUEUE, RequeueReason.REQUESTED, 900.0, asked_s=901.0))
        assert bench.meter.n_clamped == 1
        assert [(level, name) for level, name, _ in bench.log.lines] == [
            ("warning", "requeue_delay_clamped"),
            ("info", "message_settled"),
        ]

    def test_a_requeue_that_is_a_row_is_finished_in_nsqd_and_counted_as_a_requeue(self) -> None:
        cut = Verdict(OutcomeLabel.REQUEUE, RequeueReason.REQUESTED, 900.0, asked_s=86_400.0)
        bench = self.closed(on_stored(cut))
        assert (bench.meter.requeues, bench.meter.n_clamped) == ({"scheduled": 1}, 0)
        assert bench.journal == [("FIN",)]
        assert [line["delay_s"] for line in bench.log.settled()] == [86_400.0]

    def test_a_success_is_logged_only_when_asked(self) -> None:
        assert self.closed(SUCCESS).log.lines == []
        assert [name for _, name, _ in self.closed(SUCCESS, log_success=True).log.lines] == [
            "message_settled"
        ]

    @pytest.mark.parametrize(
        ("verdict", "level"),
        [
            pytest.param(EXHAUSTED, "warning", id="a dead letter is a warning"),
            pytest.param(Verdict(OutcomeLabel.LEASE_LOST), "warning", id="a lost lease is a warning"),
            pytest.param(SHUTDOWN, "info", id="a shutdown is no fault"),
            pytest.param(Verdict(OutcomeLabel.DISCARD, detail="old"), "info", id="a discard is no fault"),
        ],
    )
    def test_the_level_tells_faults_from_the_rest(self, verdict: Verdict, level: str) -> None:
        assert [each for each, _, _ in self.closed(verdict).log.lines] == [level]

    def test_the_line_has_the_fixed_fields_and_no_empty_ones(self) -> None:
        bench = self.closed(Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, 1.23456, "why"))
        (line,) = bench.log.settled()
        assert line == {
            "message_id": "0123456789abcdef",
            "topic": "consumed",
            "channel": "work",
            "handler": "Scripted",
            "attempts": 1,
            "max_attempts": 5,
            "outcome": "requeue",
            "reason": "error",
            "delay_s": 1.235,
            "detail": "why",
            "latency_ms": 0.0,
        }
        (quiet,) = self.closed(Verdict(OutcomeLabel.LEASE_LOST)).log.settled()
        assert quiet.keys() == {
            *("message_id", "topic", "channel", "handler", "attempts", "max_attempts"),
            *("outcome", "latency_ms"),
        }

    def test_over_a_lost_connection_no_outcome_but_lease_lost_is_counted(self) -> None:
        bench = self.closed(SUCCESS, FakeMessage(is_connected=False))
        assert bench.meter.outcomes == {"lease_lost": 1}

    def test_a_lost_lease_sends_nothing_though_the_connection_lives(self) -> None:
        message = FakeMessage(received_s=-59.0, lease_s=60.0)
        bench = self.closed(EXHAUSTED, message)
        assert message.answers == []
        assert bench.meter.dead_letters == {}


async def test_events_of_a_lost_delivery_are_not_published() -> None:
    bench = Bench(ending(None))
    late = delivery(FakeMessage(received_s=-100.0))
    await bench.settler.settle(late, SUCCESS, outgoing=[Outgoing("notes", b"{}")])
    assert bench.meter.outcomes == {"lease_lost": 1}
    assert bench.journal == []


async def test_a_rule_that_finishes_an_error_is_a_success_with_a_line_of_its_own() -> None:
    policy = RetryPolicy(max_attempts=5, backoff=Exponential(), on={KeyError: Finish()})
    bench = Bench(ending(KeyError("x")), rules=Rules(policy))
    message = await bench.run()
    assert bench.outcome == "success"
    assert message.answers == [("FIN",)]
    (line,) = bench.log.settled()
    assert (line["outcome"], line["detail"]) == ("success", "KeyError: 'x'")


async def test_a_delay_beyond_the_setting_is_cut_to_it() -> None:
    bench = Bench(ending(Requeue(5000)), rules=Rules(POLICY, max_delay_s=900.0))
    message = await bench.run()
    assert message.answers == [("REQ", 900.0)]
    assert bench.meter.n_clamped == 1
