"""Settle: carry out verdicts; every delivery ends in exactly one outcome, counted and logged once."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol

from nsqkit.errors import PublishError
from nsqkit.handler.context import Outgoing
from nsqkit.handler.handler import HandlerSpec
from nsqkit.policy.names import dead_topic
from nsqkit.policy.redaction import redact
from nsqkit.policy.verdict import (
    LEASE_LOST,
    SUCCESS,
    Ending,
    Rules,
    Verdict,
    on_dead_letter_failure,
    on_publish_failure,
)
from nsqkit.runtime.dead_letter import CHANNEL, DeadLetterRecord, fitting, instant, split_body
from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.failure import place_of, stack_of
from nsqkit.runtime.message import Message


class Publishes(Protocol):
    """How settling publishes: to the message's own nsqd, confirmed."""

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish and await nsqd's OK.

        Raises:
            PublishError: If it is not confirmed.
        """

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Make a durable channel, once for each address.

        Raises:
            PublishError: If that cannot be done.
        """


class Meter(Protocol):
    """What is counted for one handler."""

    def processed(self, outcome: str) -> None: ...  # noqa: D102
    def requeued(self, reason: str) -> None: ...  # noqa: D102
    def dead_lettered(self, reason: str) -> None: ...  # noqa: D102
    def error(self, error_type: str) -> None: ...  # noqa: D102
    def delay_clamped(self) -> None: ...  # noqa: D102


_DONE = frozenset({Ending.SUCCESS, Ending.DISCARD})

OnSettled = Callable[[Delivery, Verdict, BaseException | None], None]
"""Told of each delivery how it ended, and the exception behind that if there was one."""


def tell_nobody(_delivery: Delivery, _verdict: Verdict, _error: BaseException | None) -> None:
    """Do nothing: nobody asked how deliveries end."""


class Settler:
    """Settles the deliveries of one handler.

    Args:
        spec: The handler.
        rules: What its declaration says about endings.
        meter: Counts.
        log: A structlog logger.
        publishes: Where dead letters and held events go.
        rest: Rests the handler's intake for some seconds, because of an error if it is one.
        block: Stops the handler's intake for good; told why.
        max_msg_bytes: nsqd's max-msg-size.
        version: Of nsqkit.
        log_success: Whether a success is worth a line.
        log_stacks: Whether a handler's failure is worth its stack.
        on_settled: Told of each delivery how it ended.
        draw: A uniform number in [0, 1).
        now_s: The loop's monotonic clock.
    """

    def __init__(
        self,
        spec: HandlerSpec,
        rules: Rules,
        *,
        meter: Meter,
        log: Any,
        publishes: Publishes,
        rest: Callable[[float, BaseException | None], None],
        block: Callable[[str], None],
        max_msg_bytes: int,
        version: str,
        log_success: bool = False,
        log_stacks: bool = False,
        on_settled: OnSettled = tell_nobody,
        draw: Callable[[], float] = random.random,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._rules = rules
        self._meter = meter
        self._log = log
        self._publishes = publishes
        self._rest = rest
        self._block = block
        self._max_msg_bytes = max_msg_bytes
        self._version = version
        self._log_success = log_success
        self._log_stacks = log_stacks
        self._on_settled = on_settled
        self._draw = draw
        self._now_s = now_s

    async def settle(
        self,
        delivery: Delivery,
        verdict: Verdict,
        *,
        error: BaseException | None = None,
        outgoing: Sequence[Outgoing] = (),
    ) -> None:
        """Carry out a verdict.

        Args:
            delivery: What is settled.
            verdict: How.
            error: The exception behind it, for the log and the dead letter.
            outgoing: Events that a successful handler published.
        """
        if not self._holds(delivery):
            delivery.is_done = verdict.ending in _DONE and not outgoing
            verdict = _lost(verdict)
        elif verdict.ending is Ending.SUCCESS and outgoing:
            verdict, error = await self._publish(delivery, verdict, error, outgoing)
        if verdict.ending is Ending.DEAD_LETTER:
            verdict = await self._bury(delivery, verdict, error)
        self.close(delivery, verdict, error)

    def close(self, delivery: Delivery, verdict: Verdict, error: BaseException | None = None) -> None:
        """Send FIN or REQ, count and log: the part that needs no waiting."""
        if verdict is SUCCESS and error is None and self._succeed(delivery):
            return
        delivery.is_done |= verdict.ending in _DONE or verdict.ending is Ending.DEAD_LETTER
        self._record_ending(delivery, self._sent(delivery, verdict), error)

    def _succeed(self, delivery: Delivery) -> bool:
        """Finish a success that nobody wants to hear of; False if it is not that simple."""
        if self._log_success or delivery.is_over(self._now_s()) or not delivery.message.finish():
            return False
        delivery.is_done = True
        self._meter.processed(Ending.SUCCESS)
        self._on_settled(delivery, SUCCESS, None)
        return True

    def _holds(self, delivery: Delivery) -> bool:
        return not delivery.is_lost(self._now_s())

    async def _publish(
        self,
        delivery: Delivery,
        verdict: Verdict,
        error: BaseException | None,
        outgoing: Sequence[Outgoing],
    ) -> tuple[Verdict, BaseException | None]:
        message = delivery.message
        try:
            for event in outgoing:
                await self._publishes.publish(message.address, event.topic, event.body, defer_s=event.defer_s)
        except PublishError as failure:
            detail = redact(str(failure))
            attempts = message.attempts
            return on_publish_failure(self._rules, detail, attempts=attempts, draw=self._draw()), failure
        return verdict, error

    async def _bury(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> Verdict:
        message = delivery.message
        topic = dead_topic(self._spec.topic, self._spec.channel)
        try:
            await self._publishes.ensure_channel(message.address, topic, CHANNEL)
            await self._publish_record(topic, self._record(delivery, verdict, error), message)
        except PublishError as failure:
            if failure.permanent:
                self._block(f"{self._spec.name} cannot publish dead letters: {failure}")
            detail = f"{verdict.reason}: {verdict.detail}; {failure}"
            failed = on_dead_letter_failure(self._rules, detail, attempts=message.attempts, draw=self._draw())
            return replace(failed, pause_s=verdict.pause_s)
        return verdict

    async def _publish_record(self, topic: str, record: DeadLetterRecord, message: Message) -> None:
        """Publish a record, or its raw body alone where nsqd does not take more."""
        body = fitting(record, max_bytes=self._max_msg_bytes)
        if body is not None:
            try:
                return await self._publishes.publish(message.address, topic, body)
            except PublishError as failure:
                if not failure.permanent or len(body) <= len(message.body):
                    raise
        known = {name: value for name, value in asdict(record).items() if not name.startswith("body")}
        self._log.warning("dead_letter_without_record", **known)
        return await self._publishes.publish(message.address, topic, message.body)

    def _record(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> DeadLetterRecord:
        message, decoded = delivery.message, delivery.decoded
        body, body_base64 = split_body(message.body)
        return DeadLetterRecord(
            body=body,
            body_base64=body_base64,
            reason=verdict.reason,
            detail=redact(str(verdict.detail)),
            error_type=type(error).__name__ if error else "",
            stack=stack_of(error),
            attempts=message.attempts,
            message_id=delivery.message_id,
            published_at=instant(message.timestamp_ns),
            dead_at=instant(time.time_ns()),
            topic=self._spec.topic,
            channel=self._spec.channel,
            handler=self._spec.name,
            event_type=delivery.event_type,
            event_id=delivery.event_id,
            traceparent=decoded.traceparent if decoded else None,
            nsqkit_version=self._version,
        )

    def _sent(self, delivery: Delivery, verdict: Verdict) -> Verdict:
        """Send FIN or REQ, and return the verdict that then holds."""
        message = delivery.message
        if verdict.ending is Ending.LEASE_LOST or not self._holds(delivery):
            message.forget()
            return _lost(verdict)
        requeue = verdict.ending is Ending.REQUEUE
        sent = message.requeue(verdict.delay_s) if requeue else message.finish()
        return verdict if sent else _lost(verdict)

    def _record_ending(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> None:
        meter = self._meter
        meter.processed(verdict.ending)
        if verdict.ending is Ending.REQUEUE:
            meter.requeued(verdict.reason)
        elif verdict.ending is Ending.DEAD_LETTER:
            meter.dead_lettered(verdict.reason)
        if error is not None and delivery.ctx is not None:
            meter.error(type(error).__name__)
        if verdict.clamped:
            meter.delay_clamped()
            self._log.warning("requeue_delay_clamped", delay_s=verdict.delay_s, **self.fields(delivery))
        if verdict.pause_s > 0:
            self._rest(verdict.pause_s, error)
        if verdict.ending is not Ending.SUCCESS or verdict.detail or self._log_success:
            self._line(delivery, verdict, error)
        self._on_settled(delivery, verdict, error)

    def _line(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> None:
        failed = verdict.ending in {Ending.DEAD_LETTER, Ending.LEASE_LOST} or error is not None
        write = self._log.warning if failed else self._log.info
        told = {
            "outcome": str(verdict.ending),
            "reason": str(verdict.reason) or None,
            "delay_s": round(verdict.delay_s, 3) if verdict.ending is Ending.REQUEUE else None,
            "error_type": type(error).__name__ if error else None,
            "at": place_of(error) or None,
            "detail": redact(str(verdict.detail)) or None,
            "latency_ms": round((self._now_s() - delivery.message.received_s) * 1000, 3),
        }
        present = {name: value for name, value in told.items() if value is not None}
        write("message_settled", **self.fields(delivery), **present)
        if self._log_stacks and error is not None and delivery.ctx is not None:
            self._log.debug("handler_stack", **self.fields(delivery), exc_info=error)

    def fields(self, delivery: Delivery) -> dict[str, Any]:
        """Return the fixed log fields of a delivery."""
        fields = {
            "message_id": delivery.message_id,
            "topic": self._spec.topic,
            "channel": self._spec.channel,
            "handler": self._spec.name,
            "attempts": delivery.message.attempts,
        }
        if delivery.event_id:
            fields["event_id"] = delivery.event_id
        return fields


def _lost(verdict: Verdict) -> Verdict:
    """Return what is left of a verdict on a message that is no longer held: its detail and its pause."""
    return replace(LEASE_LOST, detail=verdict.detail, pause_s=verdict.pause_s)
