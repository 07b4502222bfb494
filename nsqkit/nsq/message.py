"""Messages: one delivery from nsqd, and the commands that answer it. It knows nothing of sockets."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from nsq import protocol


class Link(Protocol):
    """The connection of a message, which sends the answers.

    Attributes:
        address: ``host:port`` of the nsqd.
        topic: The subscribed topic.
        lease_s: Seconds after which nsqd delivers a message again unless it is touched.
        max_lease_s: Longest time in seconds for which TOUCH keeps a message: nsqd's max-msg-timeout.
        longest_hold_s: Seconds after which a message is lost here in spite of TOUCH.
    """

    @property
    def address(self) -> str: ...  # noqa: D102
    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def lease_s(self) -> float: ...  # noqa: D102
    @property
    def max_lease_s(self) -> float: ...  # noqa: D102
    @property
    def longest_hold_s(self) -> float: ...  # noqa: D102

    def settle(self, command: bytes) -> bool:
        """Send a FIN or REQ, and return whether the connection was open."""

    def finish_all(self, ids: Sequence[bytes]) -> bool:
        """Send FIN for messages, one or more, and return whether the connection was open."""

    def send(self, data: bytes) -> bool:
        """Send any other command, and return whether the connection was open."""

    def is_lost(self) -> bool:
        """Return whether the connection has ended, so that no command can be sent."""

    def forget(self) -> None:
        """Count a message as answered, without sending a command."""


class Message:
    """A message as nsqd delivered it.

    The methods that answer return whether the connection was open; NSQ does not confirm answers.

    Attributes:
        id: nsqd's id, 16 bytes; unique only together with topic, channel and nsqd.
        body: Bytes that the producer published.
        timestamp_ns: Time of publishing, in nanoseconds since 1970.
        attempts: Deliveries so far, this one included; 1 to 65535.
        received_s: Latest time of arrival, by ``time.monotonic()``. If the event loop was blocked, this is
            the time before the block, not the later time of the read.
        link: The connection that it came over.
    """

    __slots__ = ("_settled", "attempts", "body", "id", "link", "received_s", "timestamp_ns")

    def __init__(  # noqa: PLR0917 - made once per delivery, and keywords cost time
        self,
        id: bytes,  # noqa: A002 - NSQ's term
        body: bytes,
        timestamp_ns: int,
        attempts: int,
        received_s: float,
        link: Link,
    ) -> None:
        self.id = id
        self.body = body
        self.timestamp_ns = timestamp_ns
        self.attempts = attempts
        self.received_s = received_s
        self.link = link
        self._settled = False

    @property
    def address(self) -> str:
        """``host:port`` of the nsqd."""
        return self.link.address

    @property
    def topic(self) -> str:
        """Topic of the message."""
        return self.link.topic

    @property
    def lease_s(self) -> float:
        """Seconds after which nsqd delivers it again unless it is touched."""
        return self.link.lease_s

    @property
    def max_lease_s(self) -> float:
        """Longest time in seconds for which TOUCH keeps it: nsqd's max-msg-timeout."""
        return self.link.max_lease_s

    @property
    def longest_hold_s(self) -> float:
        """Seconds after the arrival at which it is lost here in spite of TOUCH."""
        return self.link.longest_hold_s

    def __repr__(self) -> str:
        return f"<Message {self.id!r} of {self.topic} from {self.address}, attempts={self.attempts}>"

    def finish(self) -> bool:
        """Send FIN: nsqd removes the message from the channel.

        Raises:
            RuntimeError: If it was already finished or requeued.
        """
        if self._settled:
            raise self._settled_before()
        self._settled = True
        return self.link.settle(b"FIN %b\n" % self.id)  # pynsq's builder would need four calls

    def requeue(self, delay_s: float) -> bool:
        """Send REQ: nsqd delivers the message again.

        Args:
            delay_s: Seconds before the next delivery, rounded up to milliseconds; 0 or less is at once. nsqd
                limits it to its max-req-timeout.

        Raises:
            RuntimeError: If it was already finished or requeued.
            ValueError: If *delay_s* is not finite.
        """
        if self._settled:
            raise self._settled_before()
        command = protocol.requeue(self.id, whole_ms(delay_s))
        self._settled = True
        return self.link.settle(command)

    def touch(self) -> bool:
        """Send TOUCH: restart the lease.

        Raises:
            RuntimeError: If it was already finished or requeued.
        """
        if self._settled:
            raise self._settled_before()
        return self.link.send(protocol.touch(self.id))

    def is_lost(self) -> bool:
        """Return whether the connection has ended, so that no answer can reach nsqd."""
        return self.link.is_lost()

    def forget(self) -> None:
        """Give up a message whose lease has expired: it is no longer in flight here, and gets no answer.

        Has no effect if it was finished or requeued before.
        """
        if not self._settled:
            self._settled = True
            self.link.forget()

    def _settled_before(self) -> RuntimeError:
        return RuntimeError(f"{self!r} was already finished or requeued")


def one_by_one(on_message: Callable[[Message], object]) -> Callable[[Sequence[Message]], None]:
    """Return a function for the messages of a chunk that calls *on_message* with each of them."""

    def on_messages(messages: Sequence[Message]) -> None:
        for message in messages:
            on_message(message)

    return on_messages


def whole_ms(delay_s: float) -> int:
    """Convert a delay to whole milliseconds for NSQ's wire format; 0 or more, rounded up.

    nsqd closes the connection if the number has other characters than digits.

    Raises:
        ValueError: If *delay_s* is not finite.
    """
    if not math.isfinite(delay_s):
        raise ValueError(f"delay_s={delay_s!r} is not a number of seconds")
    return max(0, math.ceil(delay_s * 1000))
