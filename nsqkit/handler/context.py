"""Context: what a handler may know and do about the message in hand, and what may stand around its call."""

import math
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from nsqkit.policy.outcome import Outcome

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message that waits until its handler has succeeded.

    Args:
        topic: Where it goes.
        body: What it says.
        defer_s: Seconds for which nsqd holds it back, 0 or more.
    """

    topic: str
    body: bytes
    defer_s: float = 0.0


Prepare = Callable[[object, str | None, float], Outgoing]


class Live(Protocol):
    """The delivery in hand, as its Context uses it."""

    def prepare(self, event: object, topic: str | None, defer_s: float) -> Outgoing: ...  # noqa: D102
    def is_lost(self, now_s: float) -> bool: ...  # noqa: D102
    def wait(self) -> None: ...  # noqa: D102
    def bind_log(self) -> "FilteringBoundLogger": ...  # noqa: D102


class Detached:
    """Stands for the delivery in a Context that a test makes."""

    def prepare(self, event: object, topic: str | None, defer_s: float) -> Outgoing:
        """Refuse: there is no service to publish for."""
        raise RuntimeError(f"this Context publishes nowhere: {event!r} to {topic!r} in {defer_s:g} s")

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
    deadline_s: float = math.inf
    now_s: Callable[[], float] = field(default=lambda: 0.0, repr=False)
    delivery: Live = field(default=Detached(), repr=False)
    cancelled: bool = field(default=False, init=False)
    outgoing: tuple[Outgoing, ...] = field(default=(), init=False)
    started_s: float | None = field(default=None, init=False)
    _cap_s: float = field(default=math.inf, init=False, repr=False)
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
        self.outgoing += (self.delivery.prepare(event, topic, defer_s),)


Next = Callable[[Any, Context], Awaitable[Outcome | None]]


class Middleware(Protocol):
    """One concern around every handler call; the first in the list is the outermost.

    It may look at, replace or refuse the call, and must return what the call returned or an outcome
    of its own. It runs on the event loop, before the verdict; ``timeout_s`` bounds the handler, not it.
    """

    async def __call__(self, event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        """Handle one call by awaiting ``call_next(event, ctx)``, or by not doing so."""
