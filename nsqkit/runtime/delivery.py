"""Delivery: one delivery of a message, from its arrival to its outcome."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from nsqkit.errors import HandlerTimeoutError
from nsqkit.handler.context import UNREAD, Context
from nsqkit.handler.outgoing import Preparer
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy import lease
from nsqkit.policy.verdict import Rules, Verdict, on_outcome
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.message_fields import log_fields
from nsqkit.runtime.ports import Message, Meter
from nsqkit.runtime.requeues import Requeues
from nsqkit.runtime.thread_call import ThreadCall

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from nsqkit.errors import DecodeError, UnknownEventError
    from nsqkit.events.codec.decoder import Decoded
    from nsqkit.policy.outcome import Duplicate, Outcome

QUIET_RATIO = 0.5
"""Share of a lease after which it needs attention: TOUCH, or a look whether nsqd has delivered it again."""
MOST_UNCOUNTED = 100_000
"""Most messages of a handler whose uncounted deliveries are remembered; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """State that all deliveries of one handler share.

    Args:
        spec: Declaration of the handler.
        rules: The handler's rules for outcomes.
        meter: Metrics of the handler.
        log: structlog logger without the handler's fields.
        preparer: Encodes the messages that the handler publishes.
        clock: Time and random numbers.
        uncounted: Number of deliveries of a message that are no attempts, by key; see ``Delivery.remember``.
        requeues: When the handler's requeued messages are due.
    """

    spec: HandlerSpec
    rules: Rules
    meter: Meter
    log: Any
    preparer: Preparer
    clock: Clock = field(default_factory=Clock)
    uncounted: "dict[tuple[str, str, bytes], int]" = field(default_factory=dict)
    requeues: Requeues = field(default_factory=Requeues)

    @property
    def limit_s(self) -> float:
        """Seconds that a handler call may take; infinite for no limit."""
        return math.inf if self.spec.run_on_loop else self.spec.holds_s


class Delivery:
    """One delivery of a message.

    Args:
        message: The received message.
        shared: State shared by the handler's deliveries.
        watch: Makes the lease keeper check this delivery earlier than planned.

    Attributes:
        key: Identifies the message on its channel; see :func:`key_of`.
        attempts: Deliveries of the message so far, this one included, without those that this worker does not
            count; see :meth:`remember`. Those before a row has delivered it again are included.
        epoch: The gate's epoch when the delivery started; see ``Gate.epoch``.
        kept: Number of times that it was handled without an outcome, in an outage.
        is_kept: Whether it is to wait and be handled again instead of being settled.
        has_lost_slot: Whether the handler still runs although the lease is over.
        give_back_by_s: Time by which to requeue it if it has not started; infinite for nsqd's limit alone.
        quiet_until_s: Time until which the lease needs no check: half a lease after the arrival.
        touched_s: Time of the last TOUCH; at first the time of arrival.
        decoded: The decoded event; None before decoding, or if that failed.
        unread: Why the message has no event; None if it has one.
        ctx: The handler's Context; None before the handler is called.
        call: The rest of the handler's call, which has begun; None if it has not, or has been awaited.
        task: What runs the delivery, a task or its call in a thread; None before it starts.
        in_handler: Whether the handler is running, so that the task may be cancelled.
        has_returned: Whether the handler runs no more and something may have to be published, which takes
            time: another task does it.
        is_redelivered: Whether nsqd has delivered the message again, so that this lease is lost.
        redelivery: The later delivery of the same message; it waits until this one ends.
        overran: The timeout that the handler returned after; None if it kept its time.
        is_done: Whether the message needs no further handling, even if nsqd got no FIN for it.
    """

    __slots__ = (
        "attempts",
        "call",
        "ctx",
        "decoded",
        "epoch",
        "give_back_by_s",
        "has_lost_slot",
        "has_returned",
        "in_handler",
        "is_done",
        "is_kept",
        "is_redelivered",
        "kept",
        "key",
        "message",
        "overran",
        "quiet_until_s",
        "redelivery",
        "shared",
        "task",
        "touched_s",
        "unread",
        "watch",
    )

    def __init__(self, message: Message, shared: Shared, watch: "Callable[[Delivery], None]") -> None:
        self.message = message
        self.shared = shared
        self.watch = watch
        self.key = key_of(message)
        self.attempts = message.attempts
        if shared.uncounted:
            self.attempts -= shared.uncounted.pop(self.key, 0)
        self.epoch = self.kept = 0
        self.give_back_by_s = math.inf
        self.quiet_until_s = message.received_s + QUIET_RATIO * message.lease_s
        self.touched_s = message.received_s
        self.decoded: Decoded | None = None
        self.unread: DecodeError | UnknownEventError | None = None
        self.ctx: Context | None = None
        self.call: Coroutine[Any, Any, Any] | None = None
        self.task: asyncio.Task[None] | ThreadCall | None = None
        self.in_handler = self.is_redelivered = self.is_done = self.is_kept = self.has_lost_slot = False
        self.has_returned = False
        self.redelivery: Delivery | None = None
        self.overran: HandlerTimeoutError | None = None

    @property
    def event_type(self) -> str:
        """Wire type of the event, such as ``order.created.v1``; empty if unknown."""
        if self.decoded is not None:
            return self.decoded.wire_type
        return self.unread.event_type if self.unread is not None else ""

    @property
    def event_id(self) -> str | None:
        """``id`` of the envelope; None if there is no envelope or it is unreadable."""
        if self.decoded is not None:
            return self.decoded.event_id
        return self.unread.event_id if self.unread is not None else None

    @property
    def message_id(self) -> str:
        """The id that nsqd gave the message, as text: 16 hex digits."""
        return self.message.id.decode("ascii", "replace")

    @property
    def log_fields(self) -> dict[str, Any]:
        """The log fields that identify the message."""
        recorders = self.ctx.recorders if self.ctx is not None else ()
        return log_fields(
            self.shared.spec,
            self.message,
            attempts=self.deliveries,
            event_id=self.event_id,
            event_type=self.event_type,
            recorders=recorders,
        )

    @property
    def deliveries(self) -> int:
        """Deliveries of the message so far, those before a row has delivered it again included."""
        return self.message.attempts + (self.ctx.earlier if self.ctx is not None else 0)

    @property
    def retry_topic(self) -> str | None:
        """Topic whose messages reach only this handler; None if it has none."""
        return next(iter(self.shared.spec.topics[1:]), None)

    @property
    def is_replayed(self) -> bool:
        """Whether the message came on the ``retry_topic``."""
        return self.message.topic != self.shared.spec.topic

    def verdict_on(self, outcome: "Outcome | Duplicate") -> Verdict:
        """Return the verdict on what the handler, or an extension in its place, returned."""
        shared = self.shared
        return on_outcome(shared.rules, outcome, attempts=self.attempts, draw=shared.clock.draw())

    @property
    def lease_ends_s(self) -> float:
        """Time at which the lease ends without another TOUCH."""
        message = self.message
        return lease.ends_s(
            message.received_s, self.touched_s, lease_s=message.lease_s, max_lease_s=message.max_lease_s
        )

    @property
    def cap_s(self) -> float:
        """Time at which the lease ends however often it is touched."""
        return self.message.received_s + self.message.longest_hold_s

    @property
    def waits_for_thread(self) -> bool:
        """Whether its call waits for a thread, unless one starts it at this moment."""
        return isinstance(self.task, ThreadCall) and not self.in_handler

    @property
    def give_back_s(self) -> float:
        """Time to requeue the delivery if it has not started, at the latest before ``cap_s``; or infinite."""
        latest_s = self.cap_s - lease.margin_s(self.message.lease_s)
        has_started = self.task is not None and not self.waits_for_thread
        return math.inf if has_started else min(latest_s, self.give_back_by_s)

    @property
    def touch_s(self) -> float:
        """Time of the next TOUCH; infinite for never."""
        message = self.message
        return lease.touch_s(
            message.received_s,
            self.touched_s,
            lease_s=message.lease_s,
            max_lease_s=message.max_lease_s,
            keep_until_s=self.ctx.deadline_s if self.ctx is not None and self.in_handler else math.inf,
        )

    def is_over(self, now_s: float) -> bool:
        """Return whether the lease has ended."""
        return self.is_redelivered or (now_s >= self.quiet_until_s and now_s >= self.lease_ends_s)

    def is_lost(self, now_s: float) -> bool:
        """Return whether nsqd accepts no answer any more: the lease or the connection has ended."""
        return self.is_over(now_s) or self.message.is_lost()

    def remember(self, *, is_attempt: bool) -> None:
        """Remember the uncounted deliveries of the message until it comes again. A restart forgets them.

        Args:
            is_attempt: Whether this delivery counts as an attempt.
        """
        uncounted, count = self.shared.uncounted, self.deliveries - self.attempts + (not is_attempt)
        if count:
            if len(uncounted) >= MOST_UNCOUNTED:
                del uncounted[next(iter(uncounted))]
            uncounted[self.key] = count

    def follow(self, earlier: "Delivery") -> None:
        """Take over the uncounted deliveries of an earlier delivery, which has not ended yet."""
        self.attempts -= earlier.deliveries - earlier.attempts + (earlier.task is None)

    def wait_again(self) -> None:
        """Return to the state before the start, to be handled again."""
        self.kept += 1
        self.attempts -= self.deliveries - self.message.attempts
        self.task = self.ctx = self.call = self.decoded = self.unread = self.overran = None
        self.is_kept = self.has_returned = False

    @property
    def preparer(self) -> Preparer:
        """Encodes the messages that the handler publishes."""
        return self.shared.preparer

    def make_context(self) -> "MessageContext":
        """Create the Context of the message, and keep it in ``ctx``."""
        self.ctx = ctx = MessageContext(self.message, self.decoded, self.shared, self.watch)
        ctx.delivery = self
        return ctx

    def wait(self) -> None:
        """Keep the lease with TOUCH while the message waits for the rest of its batch."""
        self.watch(self)

    def overrun(self, timeout_s: float) -> None:
        """Count and log that the handler returned after its timeout, so that nobody takes it for healthy."""
        self.overran = HandlerTimeoutError(timeout_s)
        self.shared.meter.error(type(self.overran).__name__)
        self.shared.log.warning(
            "handler_overran",
            timeout_s=timeout_s,
            hint="it returned after its timeout; what it returned counts",
            **self.log_fields,
        )

    def stuck(self, at: str) -> None:
        """Log that the handler goes on although it was cancelled again and again after its timeout."""
        self.shared.log.error(
            "handler_stuck",
            at=at or None,
            hint="it swallows every cancellation: let CancelledError pass. It uses a slot until it ends",
            **self.log_fields,
        )

    def start_suspect(self) -> None:
        """Log that it starts alone, before its handler can end the process without another trace."""
        hint = "its earlier deliveries had no outcome: it may be what ends the process"
        self.shared.log.warning("suspect_started", hint=hint, **self.log_fields)

    def lose_slot(self) -> None:
        """Mark and log that the handler still runs although the lease of the message is over."""
        self.has_lost_slot = True
        hint = "its handler still runs although the lease of the message is over"
        self.shared.log.warning("slot_lost", hint=hint, **self.log_fields)

    def bind_log(self) -> Any:
        """Return a structlog logger with ``log_fields``."""
        return self.shared.log.bind(**self.log_fields)


def key_of(message: Message) -> tuple[str, str, bytes]:
    """Return what identifies a message on its channel; ids repeat across topics and across nsqd."""
    return message.address, message.topic, message.id


class MessageContext(Context):
    """The Context of a message from nsqd. Its fields are set when the first of them is read: few handlers do.

    Args:
        message: The message.
        decoded: Its event; None if it has none.
        shared: State shared by the handler's deliveries.
        watch: See :class:`Delivery`, which is created when it is first needed, unless it is set before.
    """

    __slots__ = ("_shared", "_watch", "decoded", "message")

    def __init__(
        self,
        message: Message,
        decoded: "Decoded | None",
        shared: Shared,
        watch: "Callable[[Delivery], None]",
    ) -> None:
        self.message = message
        self.decoded = decoded
        self._shared = shared
        self._watch = watch
        self.cancelled = self.has_outbox = self.is_stored = False
        self.earlier = 0
        self.outgoing = self.recorders = ()
        self.started_s = self.unawaited = self.resources = None

    # Properties, as extensions read them for each message; the other fields are set together.
    @property
    def correlation_id(self) -> str | None:  # type: ignore[override]
        """``correlationid`` of the envelope; None without one."""
        return self.decoded.correlationid if self.decoded is not None else None

    @property
    def traceparent(self) -> str | None:  # type: ignore[override]
        """W3C trace context of the event's publisher; None without one."""
        return self.decoded.traceparent if self.decoded is not None else None

    @property
    def tracestate(self) -> str | None:  # type: ignore[override]
        """Vendor-specific part of that trace context; None without one."""
        return self.decoded.tracestate if self.decoded is not None else None

    @property
    def log_fields(self) -> dict[str, Any]:
        """The log fields that identify the message, for lines of any thread: reading them changes nothing."""
        decoded = self.decoded
        event_id, event_type = (decoded.event_id, decoded.wire_type) if decoded else (None, "")
        return log_fields(
            self._shared.spec,
            self.message,
            attempts=self.message.attempts + self.earlier,
            event_id=event_id,
            event_type=event_type,
            recorders=self.recorders,
        )

    def resume(self, earlier: int) -> None:
        """Count the attempts before a row has delivered the message again, in its delivery too."""
        added = earlier - self.earlier
        super().resume(earlier)
        cast("Delivery", self.delivery).attempts += added

    def __getattr__(self, name: str) -> Any:
        """Set a field that is read for the first time: the delivery, or all others."""
        if name == "delivery":
            self.delivery = delivery = Delivery(self.message, self._shared, self._watch)
            delivery.decoded = self.decoded
        else:
            self._fill(cast("Delivery", self.delivery))
        return object.__getattribute__(self, name)

    def _fill(self, delivery: Delivery) -> None:
        message, shared = self.message, self._shared
        self.topic = shared.spec.topic
        self.channel = shared.spec.channel
        self.attempts = message.attempts + delivery.kept
        self.message_id = delivery.message_id
        self.timestamp_ns = message.timestamp_ns
        self.event_id = delivery.event_id
        self.nsqd = message.address
        self.body = message.body
        self.now_s = shared.clock.now_s
        self._cap_s = cap_s = delivery.cap_s
        ends_s = math.inf if self.started_s is None else self.started_s + shared.limit_s
        self.deadline_s = min(cap_s, ends_s)
        self._envelope = UNREAD
        self._log = None
