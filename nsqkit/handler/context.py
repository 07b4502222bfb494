"""Context: what a handler may know and do about the message in hand, and what may stand around its call."""

import math
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
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


def _no_publisher(event: object, topic: str | None, defer_s: float) -> Outgoing:
    raise RuntimeError(f"this Context publishes nowhere: {event!r} to {topic!r} in {defer_s:g} s")


def _silent_log() -> "FilteringBoundLogger":
    import structlog  # noqa: PLC0415 - only for a Context that a test makes by hand

    return typing.cast("FilteringBoundLogger", structlog.get_logger())


class Subject(Protocol):
    """What a Context tells of: one message as it is handled."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def channel(self) -> str: ...  # noqa: D102
    @property
    def attempts(self) -> int: ...  # noqa: D102
    @property
    def message_id(self) -> str: ...  # noqa: D102
    @property
    def timestamp_ns(self) -> int: ...  # noqa: D102
    @property
    def event_id(self) -> str | None: ...  # noqa: D102
    @property
    def nsqd(self) -> str: ...  # noqa: D102
    @property
    def cap_s(self) -> float: ...  # noqa: D102
    @property
    def now_s(self) -> Callable[[], float]: ...  # noqa: D102
    @property
    def prepare(self) -> Prepare: ...  # noqa: D102
    def bind_log(self) -> "FilteringBoundLogger": ...  # noqa: D102
    def lease_lost(self) -> bool: ...  # noqa: D102
    def on_wait(self) -> object: ...  # noqa: D102


@dataclass
class _Imagined:
    """The message of a Context that a test makes by hand."""

    topic: str
    channel: str
    attempts: int
    message_id: str
    timestamp_ns: int
    event_id: str | None
    nsqd: str
    cap_s: float
    now_s: Callable[[], float]
    prepare: Prepare
    bind_log: "Callable[[], FilteringBoundLogger]"
    lease_lost: Callable[[], bool]
    on_wait: Callable[[], object]


class Context:
    """What a handler may know and do about the message in hand.

    Attributes:
        cancelled: True once a plain handler has run past its timeout or the worker stops; such a
            handler cannot be interrupted and should look now and then.
        outgoing: What ``publish`` has collected.
        started_s: When the handler was called, on nsqkit's clock; None before, and while others of its
            batch have to be waited for.
    """

    __slots__ = ("_limit_s", "_log", "_subject", "cancelled", "outgoing", "started_s")

    def __init__(
        self,
        *,
        topic: str = "",
        channel: str = "",
        attempts: int = 1,
        message_id: str = "",
        timestamp_ns: int = 0,
        event_id: str | None = None,
        nsqd: str = "",
        deadline_s: float = math.inf,
        now_s: Callable[[], float] = lambda: 0.0,
        prepare: Prepare = _no_publisher,
        bind_log: "Callable[[], FilteringBoundLogger]" = _silent_log,
        is_lost: Callable[[], bool] = lambda: False,
        on_wait: Callable[[], object] = lambda: None,
    ) -> None:
        self._subject: Subject = _Imagined(
            topic,
            channel,
            attempts,
            message_id,
            timestamp_ns,
            event_id,
            nsqd,
            deadline_s,
            now_s,
            prepare,
            bind_log,
            is_lost,
            on_wait,
        )
        self.cancelled = False
        self.started_s: float | None = None
        self._limit_s = math.inf
        self.outgoing: tuple[Outgoing, ...] = ()
        self._log: FilteringBoundLogger | None = None

    @classmethod
    def of(cls, subject: Subject) -> "Context":
        """Return the Context of a message; ``__init__``, which tests call, costs several times as much."""
        ctx = cls.__new__(cls)
        ctx._subject = subject  # noqa: SLF001 - its own
        ctx.cancelled = False
        ctx.started_s = ctx._log = None  # noqa: SLF001 - its own
        ctx.outgoing = ()
        ctx._limit_s = math.inf  # noqa: SLF001 - its own
        return ctx

    @property
    def topic(self) -> str:
        """The handler's source topic, also for a replayed message."""
        return self._subject.topic

    @property
    def channel(self) -> str:
        """The handler's channel."""
        return self._subject.channel

    @property
    def attempts(self) -> int:
        """Deliveries so far, this one included; from 1."""
        return self._subject.attempts

    @property
    def message_id(self) -> str:
        """Nsqd's id, 16 hex digits; unique only together with topic and nsqd."""
        return self._subject.message_id

    @property
    def timestamp_ns(self) -> int:
        """When nsqd took the message, nanoseconds since 1970 UTC."""
        return self._subject.timestamp_ns

    @property
    def event_id(self) -> str | None:
        """The envelope's id; None for a body without an envelope."""
        return self._subject.event_id

    @property
    def nsqd(self) -> str:
        """``host:port`` of the nsqd that delivered it."""
        return self._subject.nsqd

    @property
    def log(self) -> "FilteringBoundLogger":
        """A structlog logger that carries the message's fields; bound when first used."""
        if self._log is None:
            self._log = self._subject.bind_log()
        return self._log

    @property
    def lease_lost(self) -> bool:
        """Whether nsqd has taken the message back, or will: its connection or its lease is over.

        Whatever the handler still does, the message is delivered again.
        """
        return self._subject.lease_lost()

    @property
    def deadline_s(self) -> float:
        """When no time remains, on nsqkit's clock."""
        cap_s = self._subject.cap_s
        return cap_s if self.started_s is None else min(self.started_s + self._limit_s, cap_s)

    def start(self, for_s: float) -> None:
        """Begin the handler's time: nsqkit does, and no handler gains time by it.

        Args:
            for_s: Seconds from now; cut to what nsqd allows.
        """
        self.started_s = self._subject.now_s()
        self._limit_s = for_s

    def wait(self) -> None:
        """End the handler's time: its message waits until it is called, for as long as nsqd allows."""
        self.started_s = None
        self._subject.on_wait()

    def remaining_s(self) -> float:
        """Return how long the handler may still run: seconds, 0 or more, infinite if unlimited."""
        return max(0.0, self.deadline_s - self._subject.now_s())

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
        self.outgoing += (self._subject.prepare(event, topic, defer_s),)


Next = Callable[[Any, Context], Awaitable[Outcome | None]]


class Middleware(Protocol):
    """One concern around every handler call; the first in the list is the outermost.

    It may look at, replace or refuse the call, and must return what the call returned or an outcome
    of its own. It runs on the event loop, before the verdict; ``timeout_s`` bounds the handler, not it.
    """

    async def __call__(self, event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        """Handle one call by awaiting ``call_next(event, ctx)``, or by not doing so."""
