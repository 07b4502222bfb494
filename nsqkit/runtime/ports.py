"""Ports: what the runtime needs of the world outside, by protocol; adapters are in other rooms."""

from collections.abc import Sequence
from typing import Protocol


class Message(Protocol):
    """One message as nsqd delivered it; the adapter makes it, the runtime settles it.

    Attributes:
        id: nsqd's id, 16 bytes of hex.
        body: As published.
        timestamp_ns: When nsqd took it, nanoseconds since 1970 UTC.
        attempts: Deliveries so far, this one included; 1 to 65535.
        address: ``host:port`` of its nsqd.
        topic: The topic it came from: the handler's, or its ``.retry`` topic.
        received_s: When it arrived at the latest, on the loop's monotonic clock.
        lease_s: The negotiated message timeout, seconds.
        max_lease_s: nsqd's max-msg-timeout, seconds.
        longest_hold_s: Seconds after its arrival at which it is lost, however often it is touched.
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
    @property
    def longest_hold_s(self) -> float: ...  # noqa: D102

    def finish(self) -> bool:
        """Send FIN; False if the connection is gone."""

    def requeue(self, delay_s: float) -> bool:
        """Send REQ with a delay in seconds, 0 or more; False if the connection is gone."""

    def touch(self) -> bool:
        """Send TOUCH; False if the connection is gone."""

    def is_lost(self) -> bool:
        """Return whether the connection is gone, so that no answer arrives."""

    def forget(self) -> None:
        """Send nothing: the lease is over, and nsqd no longer counts it as in flight here."""


class Publishes(Protocol):
    """Publishes to the nsqd of a message, confirmed."""

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message and await nsqd's OK.

        Raises:
            PublishError: If it is not confirmed.
        """

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages in one command, all or none, and await nsqd's OK.

        Raises:
            PublishError: If they are not confirmed.
        """

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Make a durable channel, once for each address.

        Raises:
            PublishError: If that cannot be done.
        """


class Source(Protocol):
    """Where a handler's messages come from."""

    async def stop_intake(self) -> None:
        """Tell nsqd to send nothing more (CLS)."""

    async def close(self, timeout_s: float) -> None:
        """Send what is written, wait until nsqd has read it, and disconnect."""


class Meter(Protocol):
    """What is counted for one handler."""

    def received(self) -> None: ...  # noqa: D102
    def age(self, seconds: float) -> None: ...  # noqa: D102
    def duration(self, seconds: float) -> None: ...  # noqa: D102
    def processed(self, outcome: str) -> None: ...  # noqa: D102
    def requeued(self, reason: str) -> None: ...  # noqa: D102
    def dead_lettered(self, reason: str) -> None: ...  # noqa: D102
    def error(self, error_type: str) -> None: ...  # noqa: D102
    def delay_clamped(self) -> None: ...  # noqa: D102
    def kill_switch(self, state: str) -> None: ...  # noqa: D102
