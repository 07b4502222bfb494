"""What the harness records about one delivery and about one publish, for a test to read."""

from dataclasses import dataclass
from typing import Any

from nsqkit.handler.handler import AnyHandler


@dataclass(frozen=True, slots=True)
class Settled:
    """One delivery and its outcome.

    Args:
        handler: The handler class.
        topic: The topic that the handler reads.
        channel: The channel that the handler reads.
        message_id: The id that nsqd gave the message.
        attempts: Deliveries of the message so far, this one included.
        event: The decoded event; None if the body was not decoded.
        outcome: ``success``, ``requeue``, ``dead_letter``, ``discard``, ``duplicate`` or ``lease_lost``.
        reason: The reason of a requeue or dead letter, as in the metrics; else empty.
        delay_s: The delay of a requeue, in seconds; else 0.
        detail: The reason in one line, redacted; may be empty.
        error: The exception of the handler or the decoder; else None.
        at_s: The time of the outcome, in seconds of the harness's clock.
    """

    handler: type[AnyHandler[Any]]
    topic: str
    channel: str
    message_id: str
    attempts: int
    event: Any
    outcome: str
    reason: str
    delay_s: float
    detail: str
    error: BaseException | None
    at_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that a handler published and nsqd confirmed.

    Args:
        handler: The handler class.
        topic: The topic that it was published to.
        body: The encoded event.
        defer_s: Seconds that its delivery is deferred; 0 for none.
    """

    handler: type[AnyHandler[Any]]
    topic: str
    body: bytes
    defer_s: float
