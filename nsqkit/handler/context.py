"""Context: what a handler may know and do about the message in hand."""

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nsqkit.handler.resources import Resource

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from nsqkit.events.codec.envelope import Envelope
    from nsqkit.handler.outgoing import Outgoing, Preparer


T = TypeVar("T")
_UNREAD: Any = object()


class Live(Protocol):
    """The delivery in hand, as its Context uses it."""

    @property
    def preparer(self) -> "Preparer": ...  # noqa: D102
    def is_lost(self, now_s: float) -> bool: ...  # noqa: D102
    def wait(self) -> None: ...  # noqa: D102
    def bind_log(self) -> "FilteringBoundLogger": ...  # noqa: D102


class Detached:
    """Stands for the delivery in a Context that a test makes."""

    @property
    def preparer(self) -> "Preparer":
        """What encodes what is published, as a worker with the default settings does."""
        from nsqkit.handler.outgoing import Preparer  # noqa: PLC0415 - so that a team's module loads no codec

        return Preparer(source="test", max_msg_bytes=1_048_576)

    def is_lost(self, now_s: float) -> bool:  # noqa: ARG002 - a real delivery asks the clock
        """Return False: there is no lease to lose."""
        return False

    def wait(self) -> None:
        """Do nothing: there is no lease to keep."""

    def bind_log(self) -> "FilteringBoundLogger":
        """Return a plain structlog logger."""
        import structlog  # noqa: PLC0415 - only for a Context that a test makes by hand

        return typing.cast("FilteringBoundLogger", structlog.get_logger())


@dataclass(slots=True, kw_only=True, eq=False)
class Context:
    """What a handler may know and do about the message in hand.

    A test makes one with what its handler reads: ``Context(attempts=3)``.

    Args:
        topic: The handler's source topic, also for a replayed message.
        channel: The handler's channel.
        attempts: Deliveries so far, this one included; from 1.
        message_id: nsqd's id, 16 hex digits; unique only together with topic and nsqd.
        timestamp_ns: When nsqd took the message, nanoseconds since 1970 UTC.
        event_id: The envelope's id; None for a body without an envelope.
        nsqd: ``host:port`` of the nsqd that delivered it.
        body: The message's bytes, as published.
        resources: What ``resource`` returns, by per-message resource.
        deadline_s: When no time remains, on nsqkit's clock.
        now_s: nsqkit's clock, monotonic seconds.
        delivery: The delivery behind it; nsqkit's own.

    Attributes:
        cancelled: True once a plain handler has run past its timeout or the worker stops; such a
            handler cannot be interrupted and should look now and then.
        outgoing: What ``publish`` has collected.
        started_s: When the handler was called, on nsqkit's clock; None before, and while others of its
            batch have to be waited for.
    """

    topic: str = ""
    channel: str = ""
    attempts: int = 1
    message_id: str = ""
    timestamp_ns: int = 0
    event_id: str | None = None
    nsqd: str = ""
    body: bytes = field(default=b"", repr=False)
    resources: Mapping[Resource[Any], Any] | None = field(default=None, repr=False)
    deadline_s: float = math.inf
    now_s: Callable[[], float] = field(default=lambda: 0.0, repr=False)
    delivery: Live = field(default=Detached(), repr=False)
    cancelled: bool = field(default=False, init=False)
    outgoing: "tuple[Outgoing, ...]" = field(default=(), init=False)
    started_s: float | None = field(default=None, init=False)
    _cap_s: float = field(default=math.inf, init=False, repr=False)
    _envelope: "Envelope | None" = field(default=_UNREAD, init=False, repr=False)
    _log: "FilteringBoundLogger | None" = field(default=None, init=False, repr=False)

    @property
    def log(self) -> "FilteringBoundLogger":
        """A structlog logger that carries the message's fields; bound when first used."""
        if self._log is None:
            self._log = self.delivery.bind_log()
        return self._log

    @property
    def lease_lost(self) -> bool:
        """Whether nsqd has taken the message back, or will: its connection or its lease is over.

        Whatever the handler still does, the message is delivered again.
        """
        return self.delivery.is_lost(self.now_s())

    @property
    def envelope(self) -> "Envelope | None":
        """The envelope of the message: source, id, subject, time, type, extensions; None for a bare body."""
        if self._envelope is _UNREAD:
            from nsqkit.events.codec.envelope import read_envelope  # noqa: PLC0415 - same

            self._envelope = read_envelope(self.body)
        return self._envelope

    def start(self, for_s: float) -> None:
        """Begin the handler's time: nsqkit does, and no handler gains time by it.

        Args:
            for_s: Seconds from now; cut to what nsqd allows.
        """
        if self.started_s is None:
            self._cap_s = self.deadline_s
        self.started_s = now_s = self.now_s()
        ends_s = now_s + for_s
        self.deadline_s = min(self._cap_s, ends_s)

    def wait(self) -> None:
        """End the handler's time: its message waits until it is called, for as long as nsqd allows."""
        if self.started_s is not None:
            self.started_s, self.deadline_s = None, self._cap_s
        self.delivery.wait()

    def remaining_s(self) -> float:
        """Return how long the handler may still run: seconds, 0 or more, infinite if unlimited."""
        return max(0.0, self.deadline_s - self.now_s())

    def publish(self, event: object, *, topic: str | None = None, defer_s: float = 0.0) -> None:
        """Publish an event once this handler has succeeded, and before its message is finished.

        Nothing is sent if the handler fails. If nsqd does not confirm the event, the message is
        requeued, so the event can be published twice but is never lost.

        Args:
            event: An instance of a class decorated with ``@event``; encoded at once.
            topic: Where to; by default the topic of its ``@event``.
            defer_s: Seconds for which nsqd holds it back; 0 to 3600.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON.
        """
        self._keep(self.delivery.preparer.event(event, topic, defer_s, self))

    def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are, without an envelope, once this handler has succeeded.

        Args:
            topic: Where to.
            body: 1 byte to nsqd's max-msg-size, 1 MiB by default.
            defer_s: Seconds for which nsqd holds it back; 0 to 3600.

        Raises:
            EncodeError: If the topic's name is not valid, or the body is empty or too large.
        """
        self._keep(self.delivery.preparer.raw(topic, body, defer_s, self))

    def resource(self, resource: Resource[T]) -> T:
        """Return a per-message resource that the handler, or an extension around it, names in ``uses``.

        Args:
            resource: Made by ``@resource(per="message")`` or ``@resource(per="thread")``.

        Raises:
            LookupError: If it is not open for this message; says what to change.
        """
        if self.resources is None or resource not in self.resources:
            raise LookupError(
                f"resource {resource.name} is not open for this message: name it in the handler's uses=[…]"
            )
        return typing.cast("T", self.resources[resource])

    def _keep(self, outgoing: "Outgoing | None") -> None:
        if outgoing is not None:
            self.outgoing += (outgoing,)
