"""Message: what the runtime needs of a message that nsqd delivered."""

from typing import Protocol


class Message(Protocol):
    """One delivery from one nsqd; the adapter makes it, the runtime settles it.

    Attributes:
        id: nsqd's id, 16 bytes of hex.
        body: As published.
        timestamp_ns: When nsqd took it, nanoseconds since 1970 UTC.
        attempts: Deliveries so far, this one included; 1 to 65535.
        address: ``host:port`` of its nsqd.
        topic: The topic it came from.
        received_s: When it arrived at the latest, on the loop's monotonic clock.
        lease_s: The negotiated message timeout, seconds.
        max_lease_s: nsqd's max-msg-timeout, seconds.
    """

    @property
    def id(self) -> bytes: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102
    @property
    def timestamp_ns(self) -> int: ...  # noqa: D102
    @property
    def attempts(self) -> int: ...  # noqa: D102
    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def received_s(self) -> float: ...  # noqa: D102
    @property
    def lease_s(self) -> float: ...  # noqa: D102
    @property
    def max_lease_s(self) -> float: ...  # noqa: D102

    def finish(self) -> bool:
        """Send FIN; False if the connection is gone."""

    def requeue(self, delay_s: float) -> bool:
        """Send REQ with a delay in seconds, 0 or more; False if the connection is gone."""

    def touch(self) -> bool:
        """Send TOUCH; False if the connection is gone."""

    def is_lost(self) -> bool:
        """Return whether the connection is gone, so that no answer arrives."""

    def forget(self) -> None:
        """Send nothing: the lease is over, and nsqd holds it here no more."""
