"""Dead letter: the record of a message that is given up, as it goes to the ``.dead`` topic."""

import base64
from dataclasses import asdict, dataclass, replace

from nsqkit.events.codec import encode_json

RECORD_TYPE = "nsqkit.dead_letter.v1"
CHANNEL = "dead"
"""The durable channel that is made on a dead-letter topic before the first publish."""


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """Everything known about a message that is given up.

    Args:
        body: The raw bytes as text, where they are UTF-8; else None.
        body_base64: The raw bytes otherwise; else None.
        reason: From the closed set of ``DeadLetterReason``.
        detail: One line, redacted.
        error_type: Class of the exception behind it; empty if there was none.
        stack: The end of its stack trace, redacted, at most 8 KiB; empty if there was none.
        attempts: Deliveries, the last one included.
        message_id: nsqd's id.
        published_at: When nsqd took the message, RFC 3339 UTC.
        dead_at: When it was given up, RFC 3339 UTC.
        topic: The source topic.
        channel: The channel.
        handler: The handler's class name.
        event_type: The wire type, where it was decoded; else empty.
        event_id: The envelope's id, where there was one; else None.
        traceparent: The creating trace context, or None.
        nsqkit_version: Of the worker.
    """

    body: str | None
    body_base64: str | None
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


def split_body(body: bytes) -> tuple[str | None, str | None]:
    """Return raw bytes as (text, None) where they are UTF-8, else as (None, base64)."""
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(body).decode()


def fitting(record: DeadLetterRecord, *, max_bytes: int) -> bytes | None:
    """Return a record as it is published, no larger than nsqd takes; the stack goes first.

    Args:
        record: The record.
        max_bytes: nsqd's max-msg-size.

    Returns:
        The record; None where only the raw body fits, which then goes out by itself.
    """
    for attempt in (record, replace(record, stack="")):
        encoded = encode_json({"type": RECORD_TYPE, **asdict(attempt)})
        if len(encoded) <= max_bytes:
            return encoded
    return None
