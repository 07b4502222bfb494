"""Record: a message of Kafka or RabbitMQ, as both ends of a route see it. No I/O."""

from dataclasses import dataclass
from typing import Any

Headers = tuple[tuple[str, bytes], ...]
"""Names and values in their order; a name may occur several times. Values are usually text in UTF-8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A message of another broker.

    Args:
        body: Its bytes; None for a tombstone of Kafka.
        headers: Kafka's record headers, or the headers of AMQP's properties, their values as text in UTF-8.
        content_type: Its media type: AMQP's property, or Kafka's header ``content-type``; empty if unknown.
        key: Kafka's key; None without one.
        origin: What it was read from, such as ``orders[3]`` (topic and partition) or a queue's name.
        position: Where it is there: Kafka's offset, or the delivery tag of RabbitMQ, 0 or more.
        is_redelivered: Whether the broker says that it may have been delivered before.
        token: What its source needs to confirm it; nobody else looks at it.
    """

    body: bytes | None
    headers: Headers = ()
    content_type: str = ""
    key: bytes | None = None
    origin: str = ""
    position: int = 0
    is_redelivered: bool = False
    token: Any = None
