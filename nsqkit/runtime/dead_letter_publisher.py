"""Dead-letter publisher: publishes the record of a message that is given up, and awaits nsqd's OK."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from nsqkit.errors import PublishError
from nsqkit.events import rfc3339
from nsqkit.events.codec.envelope import read_envelope
from nsqkit.policy.leaves import type_name
from nsqkit.policy.names import dead_topic
from nsqkit.policy.redaction import redact
from nsqkit.policy.refusal import Fault, fault_behind
from nsqkit.policy.verdict import Verdict, on_dead_letter_failure
from nsqkit.runtime.dead_letter import CHANNEL, DeadLetterRecord, fitting, split_body
from nsqkit.runtime.delivery import Delivery, Shared
from nsqkit.runtime.failure import stack_of
from nsqkit.runtime.ports import Message, Publishes
from nsqkit.version import __version__

_LARGE_BYTES = 65_536


async def not_known(_: str) -> int | None:
    """Return None: max-msg-size of no nsqd is known."""
    return None


class DeadLetterPublisher:
    """Publishes the dead letters of one handler, each to the nsqd of its message.

    Args:
        shared: State shared by the handler's deliveries.
        publishes: Publishes to nsqd and awaits its OK.
        block: Blocks the handler's intake when nsqd refuses publishes until a person acts; called with the
            reason.
        confirmed: Called when nsqd has confirmed a publish.
        max_msg_bytes: max-msg-size of an nsqd that does not report it, bytes.
        limit_of: Returns max-msg-size of the nsqd at an address, bytes; None if it is not known.

    Attributes:
        block: Blocks the intake; the settler calls it for events.
        confirmed: Ends a block; the settler calls it for events.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        publishes: Publishes,
        block: Callable[[str], None],
        confirmed: Callable[[], None] = lambda: None,
        max_msg_bytes: int,
        limit_of: Callable[[str], Awaitable[int | None]] = not_known,
    ) -> None:
        self._shared = shared
        self._publishes = publishes
        self.block = block
        self.confirmed = confirmed
        self._max_msg_bytes = max_msg_bytes
        self._limit_of = limit_of
        self._topic = dead_topic(shared.spec.topic, shared.spec.channel)

    async def publish(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> Verdict:
        """Publish a dead letter. Return the verdict to settle with: a requeue if nsqd did not confirm it."""
        shared, message = self._shared, delivery.message
        try:
            await self._publishes.ensure_channel(message.address, self._topic, CHANNEL)
            await self._publish_record(self._record(delivery, verdict, error), message)
        except PublishError as failure:
            if failure.permanent and fault_behind(failure) is not Fault.MESSAGE:
                self.block(f"{shared.spec.name} cannot publish dead letters: {failure}")
            detail = f"{verdict.reason}: {verdict.detail}; {failure}"
            attempts, draw = delivery.attempts, shared.clock.draw()
            return on_dead_letter_failure(shared.rules, detail, attempts=attempts, draw=draw)
        self.confirmed()
        return verdict

    async def _publish_record(self, record: DeadLetterRecord, message: Message) -> None:
        """Publish a record, or only the raw body if nsqd refuses the record as too large."""
        body = fitting(record, max_bytes=await self._max_bytes(message))
        if body is not None:
            try:
                return await self._publishes.publish(message.address, self._topic, body)
            except PublishError as failure:
                can_be_smaller = fault_behind(failure) is not Fault.SETUP and len(body) > len(message.body)
                if not (failure.permanent and can_be_smaller):
                    raise
        known = {name: value for name, value in asdict(record).items() if not name.startswith("body")}
        self._shared.log.warning("dead_letter_without_record", **known)
        return await self._publishes.publish(message.address, self._topic, message.body)

    async def _max_bytes(self, message: Message) -> int:
        """Return the longest record that a message's nsqd accepts, which is asked only for large messages."""
        is_large = len(message.body) > _LARGE_BYTES
        return (is_large and await self._limit_of(message.address)) or self._max_msg_bytes

    def _record(self, delivery: Delivery, verdict: Verdict, error: BaseException | None) -> DeadLetterRecord:
        message, spec = delivery.message, self._shared.spec
        body, body_base64 = split_body(message.body)
        return DeadLetterRecord(
            body=body,
            body_base64=body_base64,
            reason=verdict.reason,
            detail=redact(str(verdict.detail)),
            error_type=type_name(error) if error else "",
            stack=stack_of(error),
            attempts=delivery.deliveries,
            message_id=delivery.message_id,
            published_at=rfc3339.from_ns(message.timestamp_ns),
            dead_at=rfc3339.from_ns(time.time_ns()),
            topic=spec.topic,
            channel=spec.channel,
            handler=spec.name,
            event_type=delivery.event_type,
            event_id=delivery.event_id,
            traceparent=_traceparent(delivery),
            nsqkit_version=__version__,
        )


def _traceparent(delivery: Delivery) -> str | None:
    """Return the trace context of the event's publisher, also if the event in the envelope is not valid."""
    if delivery.decoded is not None:
        return delivery.decoded.traceparent
    envelope = read_envelope(delivery.message.body)
    found = envelope.extensions.get("traceparent") if envelope else None
    return found if isinstance(found, str) else None
