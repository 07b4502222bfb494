"""A subscribed client, as its channel sees it. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nsqkit.devbroker.channel import Channel


@dataclass(slots=True, eq=False)
class Consumer:
    """One subscribed client, as its channel sees it.

    ``sample_rate`` is the percentage of deliveries that it gets, 0 for all; the channel loses the
    others. While ``blocked`` it gets nothing, because the client does not read its socket.
    """

    channel: "Channel"
    msg_timeout_s: float
    ready_count: int = 0
    in_flight_count: int = 0
    message_count: int = 0
    finish_count: int = 0
    requeue_count: int = 0
    closing: bool = False
    sample_rate: int = 0
    blocked: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it may get one more delivery."""
        return self.in_flight_count < self.ready_count and not self.blocked
