"""A message, the copy that each channel keeps of it, and a copy on its way to a consumer. Pure."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from nsqkit.devbroker.channel import Channel
    from nsqkit.devbroker.consumer import Consumer


class Message(NamedTuple):
    """A published message; the copies of all channels share it."""

    id: bytes
    timestamp_ns: int
    body: bytes
    defer_s: float


class Copy:
    """One channel's copy of a message: queued, deferred, or in flight to ``consumer``."""

    __slots__ = ("attempts", "channel", "consumer", "delivered_s", "message", "timer")

    def __init__(self, message: Message, channel: "Channel") -> None:
        self.message = message
        self.channel = channel
        self.attempts = 0
        self.consumer: Consumer | None = None
        self.delivered_s = 0.0
        self.timer = 0


class Delivery(NamedTuple):
    """A copy that is in flight to a consumer, and is still to be sent."""

    consumer: "Consumer"
    copy: Copy
