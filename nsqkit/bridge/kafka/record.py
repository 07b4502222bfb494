"""Kafka records: the library's messages as records of a route, and back. No I/O."""

from typing import Any

from confluent_kafka import Message

from nsqkit.bridge.record import Record

_CONTENT_TYPE = "content-type"

HeaderList = list[tuple[str, str | bytes | None]]
"""Headers as the library takes them."""


def record_of(message: Message, token: Any) -> Record:
    """Return a message as a record.

    Args:
        message: A message without error.
        token: The record's.
    """
    pairs: Any = message.headers() or ()  # a list, although its type permits more
    headers = tuple((name, value or b"") for name, value in pairs)
    return Record(
        body=message.value(),
        headers=headers,
        content_type=dict(headers).get(_CONTENT_TYPE, b"").decode(errors="replace") if headers else "",
        key=message.key(),
        origin=f"{message.topic()}[{message.partition()}]",
        position=message.offset() or 0,
        token=token,
    )


def headers_of(record: Record) -> HeaderList:
    """Return a record's headers and, unless one of them says it, its content type."""
    headers: HeaderList = [*record.headers]
    if record.content_type and all(name != _CONTENT_TYPE for name, _ in headers):
        headers.append((_CONTENT_TYPE, record.content_type.encode()))
    return headers
