"""Dead letter: the record that is published to the ``.dead`` topic for a message given up. No I/O."""

import base64
from dataclasses import asdict, dataclass, replace

from nsqkit.events.codec.formats import encode_json

RECORD_TYPE = "nsqkit.dead_letter.v1"
CHANNEL = "dead"
"""Channel created on a dead-letter topic before the first publish, so that nsqd stores dead letters there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterFacts:
    """The fields of a dead letter besides the body. Unknown texts are empty, unknown numbers 0.

    Args:
        reason: Why the message was given up, one of ``DeadLetterReason``.
        detail: One redacted line about the cause.
        error_type: Class name of the exception that caused it; empty if there was none.
        stack: The end of the exception's stack trace, redacted, at most 8 KiB; empty if there was none.
        attempts: Number of deliveries, the last one included; 1 or more.
        message_id: nsqd's id of the message.
        published_at: When nsqd accepted the message, RFC 3339 UTC.
        dead_at: When the message was given up, RFC 3339 UTC to the microsecond.
        topic: The source topic.
        channel: The channel of the handler that gave it up.
        handler: The handler's class name.
        event_type: The event's wire type, such as ``order.created.v1``; empty if it was not decoded.
        event_id: The ``id`` in the event's envelope; None without an envelope.
        traceparent: W3C trace context of the publisher; None without one.
        nsqkit_version: Version of the worker's nsqkit.
    """

    reason: str
    detail: str
    error_type: str
    stack: str
    attempts: int
    message_id: str
    published_at: str
    dead_at: str
    topic: str
    channel: str
    handler: str
    event_type: str
    event_id: str | None
    traceparent: str | None
    nsqkit_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecord(DeadLetterFacts):
    """Everything known about a message that is given up.

    Args:
        body: The raw bytes as text, if they are UTF-8; else None.
        body_base64: The raw bytes in base64 otherwise; else None.
    """

    body: str | None
    body_base64: str | None


def split_body(body: bytes) -> tuple[str | None, str | None]:
    """Return raw bytes as (text, None) if they are UTF-8, else as (None, base64)."""
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()


def fitting(record: DeadLetterRecord, *, max_bytes: int) -> bytes | None:
    """Return a record as JSON of at most *max_bytes*; leave out the stack trace if the record is too large.

    Args:
        record: The dead letter to publish.
        max_bytes: nsqd's max-msg-size.

    Returns:
        The JSON; None if the record is too large even so. Only the raw body is published then.
    """
    for attempt in (record, replace(record, stack="")):
        fields = {"body": attempt.body, "body_base64": attempt.body_base64, **asdict(attempt)}
        encoded = encode_json({"type": RECORD_TYPE, **fields})
        if len(encoded) <= max_bytes:
            return encoded
    return None
