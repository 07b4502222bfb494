"""Ports: the protocols through which the runtime uses NSQ and metrics; adapters are in other packages."""

from collections.abc import Sequence
from typing import Protocol


class Link(Protocol):
    """The connection that messages came over.

    Attributes:
        address: ``host:port`` of the nsqd.
        lease_s: The negotiated message timeout, seconds.
    """

    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def lease_s(self) -> float: ...  # noqa: D102

    def finish_all(self, ids: Sequence[bytes]) -> bool:
        """Send FIN for messages of this connection, one or more; False if it is gone."""


class Message(Protocol):
    """One message as nsqd delivered it. The adapter creates it, the runtime settles it.

    Attributes:
        id: nsqd's id of the message, 16 bytes of hex.
        body: The bytes as published; 1 or more.
        timestamp_ns: When nsqd accepted the message, nanoseconds since 1970 UTC.
        attempts: Deliveries so far, this one included; 1 to 65535.
        address: ``host:port`` of the nsqd that delivered it.
        topic: The topic it was delivered from: the handler's, or its ``.retry`` topic.
        received_s: Time of arrival on the loop's monotonic clock; the true arrival was not later.
        lease_s: The negotiated message timeout, seconds.
        max_lease_s: nsqd's max-msg-timeout, seconds.
        longest_hold_s: Seconds after the arrival at which the lease ends however often it is touched.
        link: The connection that it came over.
    """

    @property
    def link(self) -> Link: ...  # noqa: D102
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
        """Return whether the connection is gone, so that nsqd receives no answer."""

    def forget(self) -> None:
        """Send no answer: the lease has ended, and nsqd no longer counts the message as in flight here."""


class Publishes(Protocol):
    """Publishes to a given nsqd, and awaits its OK."""

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message and await nsqd's OK.

        Raises:
            PublishError: If nsqd does not confirm the message.
        """

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages and await nsqd's OK; in one command, all or none, if nsqd takes them in one.

        Raises:
            PublishError: If nsqd does not confirm the messages.
        """

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Create a durable channel, once for each address.

        Raises:
            PublishError: If the channel cannot be created.
        """


class Source(Protocol):
    """The consumer that receives a handler's messages."""

    async def stop_intake(self) -> None:
        """Ask every nsqd to send no more messages (CLS), and wait until it has confirmed."""

    async def close(self, timeout_s: float) -> None:
        """Send all pending answers, wait until nsqd has read them, and disconnect.

        Args:
            timeout_s: Maximum wait, seconds.
        """


class Meter(Protocol):
    """The metrics of one handler."""

    def received(self, count: int) -> None: ...  # noqa: D102
    def succeeded(self, ages_s: Sequence[float], durations_s: Sequence[float]) -> None: ...  # noqa: D102
    def age(self, seconds: float) -> None: ...  # noqa: D102
    def duration(self, seconds: float) -> None: ...  # noqa: D102
    def exemplar(self, trace_id: str, duration_s: float, at_s: float) -> None: ...  # noqa: D102
    def processed(self, outcome: str) -> None: ...  # noqa: D102
    def requeued(self, reason: str) -> None: ...  # noqa: D102
    def dead_lettered(self, reason: str) -> None: ...  # noqa: D102
    def error(self, error_type: str) -> None: ...  # noqa: D102
    def delay_clamped(self) -> None: ...  # noqa: D102
    def kill_switch(self, state: str) -> None: ...  # noqa: D102
