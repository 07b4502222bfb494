"""One delivery: what nsqd sent, and the answers to it. It knows nothing of sockets."""

import math
from typing import Protocol

from nsq import protocol


class Link(Protocol):
    """The connection that a message came over, and its answers go to.

    Attributes:
        address: ``host:port`` of the nsqd.
        topic: The topic it is subscribed to.
        lease_s: Seconds after which nsqd delivers a message again, unless it is touched.
        max_lease_s: Seconds for which TOUCH keeps one at most: nsqd's max-msg-timeout.
        longest_hold_s: Seconds after which one is lost here, however often it is touched.
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
        """Send a FIN or REQ, and return whether the connection was alive to take it."""

    def send(self, data: bytes) -> bool:
        """Send any other command, likewise."""

    def is_lost(self) -> bool:
        """Return whether no command can be sent any more."""

    def forget(self) -> None:
        """Count a message as answered, without an answer."""


class Message:
    """A message as nsqd delivered it.

    The answers return whether they were handed to a live connection; NSQ confirms none of them.

    Attributes:
        id: 16 bytes; unique only together with topic, channel and nsqd.
        body: What the producer published.
        timestamp_ns: When it was published, in nanoseconds since 1970.
        attempts: Deliveries so far, this one included; 1 to 65535.
        address: ``host:port`` of the nsqd.
        topic: The topic it came from.
        received_s: When it arrived at the latest, by ``time.monotonic()``: where the event loop was
            blocked, the last moment before that, never the later one at which it was read.
        lease_s: Seconds after which nsqd delivers it again, unless it is touched.
        max_lease_s: Seconds for which TOUCH keeps it at most: nsqd's max-msg-timeout.
        longest_hold_s: Seconds after its arrival at which it is lost here, however often it is touched.
    """

    __slots__ = (
        "_link",
        "_settled",
        "address",
        "attempts",
        "body",
        "id",
        "lease_s",
        "longest_hold_s",
        "max_lease_s",
        "received_s",
        "timestamp_ns",
        "topic",
    )

    def __init__(  # noqa: PLR0917 - made once per delivery, and keywords cost time
        self,
        id: bytes,  # noqa: A002 - NSQ's own word for it
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
        self.address = link.address
        self.topic = link.topic
        self.received_s = received_s
        self.lease_s = link.lease_s
        self.max_lease_s = link.max_lease_s
        self.longest_hold_s = link.longest_hold_s
        self._link = link
        self._settled = False

    def __repr__(self) -> str:
        return f"<Message {self.id!r} of {self.topic} from {self.address}, attempts={self.attempts}>"

    def finish(self) -> bool:
        """Tell nsqd that the message is done with.

        Raises:
            RuntimeError: If it was already finished or requeued.
        """
        if self._settled:
            raise self._settled_before()
        self._settled = True
        return self._link.settle(b"FIN %b\n" % self.id)  # pynsq's builder takes four calls for it

    def requeue(self, delay_s: float) -> bool:
        """Have nsqd deliver the message again.

        Args:
            delay_s: Not before so many seconds; 0 or less is at once. nsqd clamps it at its
                max-req-timeout. The wire has whole milliseconds: it is rounded up.

        Raises:
            RuntimeError: If it was already finished or requeued.
            ValueError: If *delay_s* is not finite.
        """
        if self._settled:
            raise self._settled_before()
        command = protocol.requeue(self.id, whole_ms(delay_s))
        self._settled = True
        return self._link.settle(command)

    def touch(self) -> bool:
        """Start the lease anew.

        Raises:
            RuntimeError: If it was already finished or requeued.
        """
        if self._settled:
            raise self._settled_before()
        return self._link.send(protocol.touch(self.id))

    def is_lost(self) -> bool:
        """Return whether its connection takes no more commands: no answer reaches nsqd."""
        return self._link.is_lost()

    def forget(self) -> None:
        """Give up a message whose lease is over: nsqd has it in flight here no more, and gets no answer.

        Does nothing if it was finished or requeued before.
        """
        if not self._settled:
            self._settled = True
            self._link.forget()

    def _settled_before(self) -> RuntimeError:
        return RuntimeError(f"{self!r} was already finished or requeued")


def whole_ms(delay_s: float) -> int:
    """Return a delay as NSQ's wire has it: whole milliseconds, 0 or more, never early.

    nsqd closes the connection at anything but digits.

    Raises:
        ValueError: If *delay_s* is not finite.
    """
    if not math.isfinite(delay_s):
        raise ValueError(f"delay_s={delay_s!r} is not a number of seconds")
    return max(0, math.ceil(delay_s * 1000))
