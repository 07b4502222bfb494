"""Letter: what a message of a ``.dead`` topic says, whether it is nsqkit's record or a body alone. No I/O."""

import base64
import re
from dataclasses import dataclass
from typing import Any

from nsqkit.events import rfc3339
from nsqkit.events.body import Body
from nsqkit.events.codec import loads
from nsqkit.nsq.message import Message
from nsqkit.policy.names import dead_topic, retry_topic
from nsqkit.runtime.dead_letter import RECORD_TYPE

SUFFIX = ".dead"
_MARK = RECORD_TYPE.encode()
_DIGEST = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter. What is not known is empty, None or 0.

    Args:
        dead_topic: The topic that it was read from.
        nsqd: ``host:port`` of the nsqd that it was read from.
        dead_message_id: nsqd's id of the message that it was read from.
        dead_timestamp_ns: When that was published, nanoseconds since 1970.
        is_record: Whether it was nsqkit's record; else only what the body and the topic's name tell is known.
        body: The message as its producer published it; 1 byte or more.
        reason: Why it was given up, from ``DeadLetterReason``.
        detail: One line.
        error_type: Class of the exception.
        stack: The end of its stack trace.
        attempts: Deliveries.
        message_id: nsqd's id of the message that was given up.
        published_at: When that was published, RFC 3339 UTC.
        dead_at: When it was given up, RFC 3339 UTC to the microsecond.
        topic: The source topic.
        channel: The channel.
        handler: The handler's class name.
        event_type: The wire type.
        event_id: The envelope's id.
        traceparent: The creating trace context.
        nsqkit_version: Of the worker.
    """

    dead_topic: str
    nsqd: str
    dead_message_id: str
    dead_timestamp_ns: int
    is_record: bool
    body: bytes
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

    @property
    def place(self) -> str:
        """``topic/channel``; where they are not known, the topic that it was read from."""
        return f"{self.topic}/{self.channel}" if self.channel else self.dead_topic

    @property
    def retry_topic(self) -> str:
        """Where a replay goes; empty if topic and channel are not known."""
        return retry_topic(self.topic, self.channel) if self.channel else ""


def read_letter(message: Message) -> Letter:
    """Return what a message of a ``.dead`` topic says; anything is a dead letter there."""
    record, body = _record(message.body)
    known = record or _told_by(message)
    return Letter(
        dead_topic=message.topic,
        nsqd=message.address,
        dead_message_id=message.id.decode(errors="backslashreplace"),
        dead_timestamp_ns=message.timestamp_ns,
        is_record=bool(record),
        body=body,
        reason=_text(known, "reason"),
        detail=_text(known, "detail"),
        error_type=_text(known, "error_type"),
        stack=_text(known, "stack"),
        attempts=_count(known, "attempts"),
        message_id=_text(known, "message_id"),
        published_at=_text(known, "published_at"),
        dead_at=_time(_text(known, "dead_at")) or rfc3339.from_ns(message.timestamp_ns),
        topic=_text(known, "topic"),
        channel=_text(known, "channel"),
        handler=_text(known, "handler"),
        event_type=_text(known, "event_type"),
        event_id=_text(known, "event_id") or None,
        traceparent=_text(known, "traceparent") or None,
        nsqkit_version=_text(known, "nsqkit_version"),
    )


def source_of(topic: str) -> tuple[str, str]:
    """Return the (topic, channel) whose dead letters a topic takes; empty where its name does not tell.

    Args:
        topic: Such as ``orders.inventory.dead``. A name that was too long or ambiguous has a hash in it.
    """
    source, _, channel = topic.removesuffix(SUFFIX).rpartition(".")
    is_told = source and not _DIGEST.fullmatch(channel) and dead_topic(source, channel) == topic
    return (source, channel) if is_told else ("", "")


def _record(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a record and the body in it; no record, and all of it, where it is none."""
    if _MARK in body:
        try:
            record = loads(body)
            if isinstance(record, dict) and record.get("type") == RECORD_TYPE and (raw := _raw(record)):
                return record, raw
        except ValueError:  # not JSON, or not base64
            pass
    return {}, body


def _raw(record: dict[str, Any]) -> bytes:
    text = record.get("body")
    if isinstance(text, str):
        return text.encode()
    return base64.b64decode(_text(record, "body_base64"), validate=True)


def _told_by(message: Message) -> dict[str, Any]:
    topic, channel = source_of(message.topic)
    body = Body.read(message.body)
    return {
        "topic": topic,
        "channel": channel,
        "event_type": body.attribute("type"),
        "event_id": body.attribute("id"),
        "traceparent": body.attribute("traceparent"),
    }


def _text(known: dict[str, Any], name: str) -> str:
    value = known.get(name)
    return value if isinstance(value, str) else ""


def _count(known: dict[str, Any], name: str) -> int:
    value = known.get(name)
    return value if isinstance(value, int) and 0 <= value < 1 << 16 else 0


def _time(text: str) -> str:
    """Return a time in the one form that sorts as it reads; empty if it is none."""
    try:
        return rfc3339.normalized(text)
    except ValueError:
        return ""
