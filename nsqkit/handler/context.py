"""Context: the data and actions of one message, as its handler sees them."""

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from nsqkit.errors import EncodeError
from nsqkit.events.any_event import AnyEvent
from nsqkit.handler.resources import Resource

if TYPE_CHECKING:
    from datetime import datetime

    from structlog.typing import FilteringBoundLogger

    from nsqkit.errors import UnawaitedError
    from nsqkit.events.codec.envelope import Envelope
    from nsqkit.handler.outgoing import Outgoing, Preparer
    from nsqkit.handler.recorder import Recorder
    from nsqkit.policy.outcome import Duplicate, Outcome
    from nsqkit.policy.verdict import Verdict


T = TypeVar("T")
CLOSED: Mapping[Resource[Any], Any] = MappingProxyType({})
"""The resources of a message whose call has ended."""
UNREAD: Any = object()
"""The envelope of a message that is not parsed yet."""


class Live(Protocol):
    """The delivery of a Context, as far as the Context uses it."""

    @property
    def attempts(self) -> int: ...  # noqa: D102
    @property
    def is_replayed(self) -> bool: ...  # noqa: D102
    @property
    def retry_topic(self) -> str | None: ...  # noqa: D102
    @property
    def preparer(self) -> "Preparer": ...  # noqa: D102
    def verdict_on(self, outcome: "Outcome | Duplicate") -> "Verdict": ...  # noqa: D102
    def is_lost(self, now_s: float) -> bool: ...  # noqa: D102
    def wait(self) -> None: ...  # noqa: D102
    def overrun(self, timeout_s: float) -> None: ...  # noqa: D102
    def stuck(self, at: str) -> None: ...  # noqa: D102
    def bind_log(self) -> "FilteringBoundLogger": ...  # noqa: D102


class Detached:
    """Replaces the delivery in a Context that a test creates."""

    attempts = 1
    is_replayed = False
    retry_topic = None

    @property
    def preparer(self) -> "Preparer":
        """Encodes published events as a worker with default settings does."""
        from nsqkit.handler.outgoing import Preparer  # noqa: PLC0415 - loads the codec

        return Preparer(source="test", max_msg_bytes=1_048_576)

    def verdict_on(self, outcome: "Outcome | Duplicate") -> "Verdict":
        """Return the verdict on an outcome with the default rules."""
        from nsqkit.policy.retry import RetryPolicy  # noqa: PLC0415 - only for a Context that a test creates
        from nsqkit.policy.verdict import Rules, on_outcome  # noqa: PLC0415

        return on_outcome(Rules(RetryPolicy()), outcome, attempts=self.attempts, draw=0.0)

    def is_lost(self, now_s: float) -> bool:  # noqa: ARG002 - a real delivery asks the clock
        """Return False: there is no lease to lose."""
        return False

    def wait(self) -> None:
        """Do nothing: there is no lease to keep."""

    def overrun(self, timeout_s: float) -> None:
        """Do nothing: nobody counts it."""

    def stuck(self, at: str) -> None:
        """Do nothing: nobody logs it."""

    def bind_log(self) -> "FilteringBoundLogger":
        """Return a plain structlog logger."""
        import structlog  # noqa: PLC0415 - only for a Context that a test creates

        return typing.cast("FilteringBoundLogger", structlog.get_logger())


@dataclass(slots=True, kw_only=True, eq=False)
class Context:
    """The data and actions of one message.

    Tests create one with the fields that the handler reads: ``Context(attempts=3)``.

    Args:
        topic: Source topic of the handler, also for a replayed message.
        channel: Channel of the handler.
        attempts: Number of times that the message was delivered or, in an outage, tried again; 1 or more.
        message_id: nsqd's id, 16 hex digits; unique only together with topic and nsqd.
        timestamp_ns: When nsqd accepted the message, nanoseconds since 1970 UTC.
        event_id: ``id`` of the envelope; None for a bare body.
        correlation_id: ``correlationid`` of the envelope, shared by all events of one flow; None without one.
        traceparent: W3C trace context of the event's publisher; None without one.
        tracestate: Vendor-specific part of that trace context; None without one.
        nsqd: ``host:port`` of the nsqd that delivered it.
        body: The message's bytes, as published.
        resources: Values of the open per-message and per-thread resources; ``resource`` returns them.
        deadline_s: Time at which ``remaining_s`` reaches 0, on the clock of *now_s*.
        now_s: nsqkit's monotonic clock, seconds.
        delivery: The delivery of the message; internal to nsqkit.

    Attributes:
        cancelled: True after the timeout of a plain handler, or when the worker cancels handlers in a drain.
            A thread cannot be interrupted, so long-running handlers should check it.
        outgoing: The follow-up events that ``publish`` has collected.
        has_outbox: Whether what the handler publishes becomes rows of its transaction.
        earlier: Attempts before a row has delivered the message again; 0 for a message of nsqd's.
        is_stored: Whether a row delivers the message again, so that it is not requeued in nsqd.
        recorders: What extensions have added to learn what happens to the message.
        started_s: When the handler was called, on the clock of *now_s*; None before the call, and while
            the message waits for its batch.
        unawaited: The first coroutine that the handler did not await; internal to nsqkit.
    """

    topic: str = ""
    channel: str = ""
    attempts: int = 1
    message_id: str = ""
    timestamp_ns: int = 0
    event_id: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    nsqd: str = ""
    body: bytes = field(default=b"", repr=False)
    resources: Mapping[Resource[Any], Any] | None = field(default=None, repr=False)
    deadline_s: float = math.inf
    now_s: Callable[[], float] = field(default=lambda: 0.0, repr=False)
    delivery: Live = field(default=Detached(), repr=False)
    cancelled: bool = field(default=False, init=False)
    outgoing: "tuple[Outgoing, ...]" = field(default=(), init=False)
    has_outbox: bool = field(default=False, init=False)
    earlier: int = field(default=0, init=False)
    is_stored: bool = field(default=False, init=False)
    recorders: "tuple[Recorder, ...]" = field(default=(), init=False, repr=False)
    started_s: float | None = field(default=None, init=False)
    unawaited: "UnawaitedError | None" = field(default=None, init=False, repr=False)
    _cap_s: float = field(default=math.inf, init=False, repr=False)
    _envelope: "Envelope | None" = field(default=UNREAD, init=False, repr=False)
    _log: "FilteringBoundLogger | None" = field(default=None, init=False, repr=False)

    @property
    def log_fields(self) -> Mapping[str, Any]:
        """The log fields that identify the message; none in a Context that a test creates."""
        return {}

    @property
    def log(self) -> "FilteringBoundLogger":
        """A structlog logger with the message's fields, created on first use."""
        if self._log is None:
            self._log = self.delivery.bind_log()
        return self._log

    @property
    def lease_lost(self) -> bool:
        """Whether the lease or the connection has ended.

        nsqd then delivers the message again, whatever the handler does.
        """
        return self.delivery.is_lost(self.now_s())

    @property
    def envelope(self) -> "Envelope | None":
        """The envelope of the message: source, id, subject, time, type, extensions; None for a bare body."""
        if self._envelope is UNREAD:
            from nsqkit.events.codec.envelope import read_envelope  # noqa: PLC0415 - loads the codec

            self._envelope = read_envelope(self.body)
        return self._envelope

    def start(self, for_s: float) -> float:
        """Start the handler's timeout. Called by nsqkit; it never extends the time that nsqd allows.

        Args:
            for_s: Seconds from now, 0 or more; limited by nsqd's max-msg-timeout.

        Returns:
            The present time, on the clock of *now_s*.
        """
        if self.started_s is None:
            self._cap_s = self.deadline_s
        self.started_s = now_s = self.now_s()
        ends_s = now_s + for_s
        self.deadline_s = min(self._cap_s, ends_s)
        return now_s

    def resume(self, earlier: int) -> None:
        """Count the attempts before a row has delivered the message again. Called by nsqkit, also twice.

        Args:
            earlier: Their number, 0 or more.
        """
        self.attempts += earlier - self.earlier
        self.earlier = earlier

    def wait(self) -> None:
        """Stop the handler's timeout while the message waits for its batch; nsqkit keeps the lease."""
        if self.started_s is not None:
            self.started_s, self.deadline_s = None, self._cap_s
        self.delivery.wait()

    def overrun(self, timeout_s: float) -> None:
        """Count a timeout although the handler returned; its outcome holds. Called by nsqkit.

        Args:
            timeout_s: The handler's time limit in seconds.
        """
        self.delivery.overrun(timeout_s)

    def stuck(self, at: str) -> None:
        """Log that the handler goes on after every cancellation. Called by nsqkit.

        Args:
            at: ``file:line`` at which it waits; empty if unknown.
        """
        self.delivery.stuck(at)

    def remaining_s(self) -> float:
        """Return the seconds that the handler may still run; 0 or more, infinite if unlimited."""
        return max(0.0, self.deadline_s - self.now_s())

    def publish(
        self,
        event: AnyEvent,
        *,
        topic: str | None = None,
        defer_s: float = 0.0,
        partition_key: str | None = None,
        sequence: str | None = None,
        at: "datetime | None" = None,
    ) -> None:
        """Publish a follow-up event after this handler succeeds and before its message is finished.

        Nothing is sent if the handler fails. If nsqd does not confirm the event, the message is
        requeued: the event may be published twice, but it is never lost. With ``once=``, the event is a
        row of the handler's transaction instead, and a relay publishes it again.

        Args:
            event: An instance of a class decorated with ``@event``; encoded immediately.
            topic: Topic to publish to; by default the topic of its ``@event``.
            defer_s: Seconds until nsqd delivers it; 0 to 3600.
            partition_key: What the event belongs to, such as an order: the attribute ``partitionkey``.
            sequence: Its place among the events of that key, by which a consumer refuses stale ones, since
                NSQ has no order: the attribute ``sequence``, a text that grows.
            at: Time at which a relay publishes it, with a time zone; needs ``once=``. Until then the event is
                a row, so the time may be years away, and a restart of nsqd does not hasten it.

        Raises:
            EncodeError: If it is not an event, has no topic, or cannot be written as JSON; or with *at* if
                the handler has no ``once=``, or *at* has no time zone.
        """
        preparer = self.delivery.preparer
        if at is not None:
            self._require_outbox()
        self._keep(
            preparer.event(event, topic, defer_s, self, partition_key=partition_key, sequence=sequence, at=at)
        )

    def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish bytes as they are, without an envelope, after this handler succeeds.

        Args:
            topic: Topic to publish to.
            body: The message body: 1 byte to nsqd's max-msg-size, 1 MiB by default.
            defer_s: Seconds until nsqd delivers it; 0 to 3600.

        Raises:
            EncodeError: If the topic's name is not valid, or the body is empty or too large.
        """
        self._keep(self.delivery.preparer.raw(topic, body, defer_s, self))

    def resource(self, resource: Resource[T]) -> T:
        """Return a per-message or per-thread resource listed in ``uses`` of the handler or an extension.

        Args:
            resource: A function decorated with ``@resource(per="message")`` or ``@resource(per="thread")``.

        Raises:
            LookupError: If the resource is not open for this message, or is closed; the text says what to
                change.
        """
        if self.resources is CLOSED:
            raise LookupError(f"resource {resource.name} is closed: the call of the handler has ended")
        if self.resources is None or resource not in self.resources:
            raise LookupError(
                f"resource {resource.name} is not open for this message: add it to the handler's uses=[…]"
            )
        return typing.cast("T", self.resources[resource])

    def _require_outbox(self) -> None:
        if not (self.has_outbox or isinstance(self.delivery, Detached)):
            raise EncodeError(
                "publish(at=…) keeps the event in a database until then: add once=… to the handler's class "
                "keywords, or use outbox.add(session, event, at=…)"
            )

    def _keep(self, outgoing: "Outgoing | None") -> None:
        if outgoing is not None:
            self.outgoing += (outgoing,)
