"""Parse: a message of a ``.dead`` topic as a dead letter, whether nsqkit's record or only a body. No I/O."""

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

from nsqkit.events import rfc3339
from nsqkit.events.body import Body
from nsqkit.events.codec.formats import loads
from nsqkit.nsq.message import Message
from nsqkit.policy.names import dead_topic, retry_topic
from nsqkit.runtime.dead_letter import RECORD_TYPE, DeadLetterFacts

SUFFIX = ".dead"
_MARK = RECORD_TYPE.encode()
_DIGEST = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectedLetter(DeadLetterFacts):
    """A dead letter as it was read from NSQ.

    A bridge stores records of Kafka and RabbitMQ that NSQ cannot take in the same form, without a channel.

    Args:
        dead_topic: The ``.dead`` topic that it was read from; for a record of a bridge ``kafka:topic`` or
            ``rabbitmq:queue``, which no topic of NSQ can be called.
        nsqd: ``host:port`` of the nsqd, or of the other broker, that it was read from.
        dead_message_id: nsqd's id of the message on the ``.dead`` topic, or what identifies the record.
        dead_timestamp_ns: When that message was published, nanoseconds since 1970; 0 for a record of Kafka.
        is_record: Whether it was nsqkit's record. Otherwise only what the body and the topic's name say
            is known.
        body: The message as its producer published it; 1 byte or more, unless it is a record of a bridge.
    """

    dead_topic: str
    nsqd: str
    dead_message_id: str
    dead_timestamp_ns: int
    is_record: bool
    body: bytes

    @property
    def is_of_bridge(self) -> bool:
        """Whether it is a record of Kafka or RabbitMQ, which never was a message of NSQ."""
        return ":" in self.dead_topic

    @property
    def place(self) -> str:
        """``topic/channel``; the ``.dead`` topic if they are unknown."""
        return f"{self.topic}/{self.channel}" if self.channel else self.dead_topic

    @property
    def retry_topic(self) -> str:
        """The topic that a replay is published on; empty if topic and channel are unknown."""
        return retry_topic(self.topic, self.channel) if self.channel else ""


def parse_letter(message: Message) -> CollectedLetter:
    """Return a message of a ``.dead`` topic as a dead letter; every message there is one."""
    record, body = _record(message.body)
    return _letter(message, record or _inferred(message), body, is_record=bool(record))


def raw_letter(message: Message) -> CollectedLetter:
    """Return a message of a ``.dead`` topic as a dead letter, without a look at its bytes."""
    topic, channel = source_of(message.topic)
    return _letter(message, {"topic": topic, "channel": channel}, message.body, is_record=False)


def _letter(
    message: Message, known: Mapping[str, object], body: bytes, *, is_record: bool
) -> CollectedLetter:
    facts = {each.name: _READERS[each.type](known.get(each.name)) for each in fields(DeadLetterFacts)}
    facts["dead_at"] = _time(facts["dead_at"]) or rfc3339.from_ns(message.timestamp_ns)
    return CollectedLetter(
        dead_topic=message.topic,
        nsqd=message.address,
        dead_message_id=message.id.decode(errors="backslashreplace"),
        dead_timestamp_ns=message.timestamp_ns,
        is_record=is_record,
        body=body,
        **facts,
    )


def source_of(topic: str) -> tuple[str, str]:
    """Return the (topic, channel) of the handler that publishes on a ``.dead`` topic.

    Args:
        topic: Such as ``orders.inventory.dead``. A name that was too long or ambiguous contains a hash.

    Returns:
        Topic and channel; both empty if the name does not contain them.
    """
    source, _, channel = topic.removesuffix(SUFFIX).rpartition(".")
    is_plain = source and not _DIGEST.fullmatch(channel) and dead_topic(source, channel) == topic
    return (source, channel) if is_plain else ("", "")


def _record(body: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a record and the body in it; an empty record and all bytes if they are not a record."""
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
    return base64.b64decode(_text(record.get("body_base64")), validate=True)


def _inferred(message: Message) -> dict[str, Any]:
    """Return what the topic's name and the body's envelope say."""
    topic, channel = source_of(message.topic)
    body = Body.read(message.body)
    return {
        "topic": topic,
        "channel": channel,
        "event_type": body.attribute("type"),
        "event_id": body.attribute("id"),
        "traceparent": body.attribute("traceparent"),
    }


def _text(value: object) -> str:
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else ""


def _text_or_none(value: object) -> str | None:
    return _text(value) or None


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 1 << 16 else 0


_READERS: Final[Mapping[Any, Callable[[object], Any]]] = MappingProxyType(
    {str: _text, str | None: _text_or_none, int: _count}
)
"""How a field is read, by its type. A value of another type counts as unknown."""


def _time(text: str) -> str:
    """Return a time in the one form that sorts as it reads; empty if it is not a time."""
    try:
        return rfc3339.normalized(text)
    except (ValueError, OverflowError, OSError):  # a local time outside of the system's range
        return ""
