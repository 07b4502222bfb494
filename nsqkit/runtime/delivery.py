"""Delivery: one message on its way from arrival to its outcome."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Preparer
from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy import lease
from nsqkit.policy.verdict import Rules
from nsqkit.runtime.clock import Clock
from nsqkit.runtime.ports import Message, Meter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from nsqkit.errors import DecodeError, UnknownEventError
    from nsqkit.events.codec.decoder import Decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all deliveries of one handler share.

    Args:
        spec: The handler as declared.
        rules: What its declaration says about outcomes.
        meter: Counts.
        log: A structlog logger without the handler's fields.
        preparer: Encodes what the handler publishes.
        clock: Time and chance.
    """

    spec: HandlerSpec
    rules: Rules
    meter: Meter
    log: Any
    preparer: Preparer
    clock: Clock = field(default_factory=Clock)


class Delivery:
    """One message on its way.

    Args:
        message: What arrived.
        shared: What it shares with the handler's other deliveries.
        watch: Has the lease keeper look at it earlier than planned.

    Attributes:
        key: What distinguishes its message from all others of the channel: ids repeat across topics and
            across nsqd.
        quiet_until_s: Before this time, half of its lease, it neither ends nor needs a TOUCH.
        touched_s: When it was last touched; at first when it arrived.
        decoded: Its event, once decoded.
        unread: Why it has no event, if it has none.
        ctx: The handler's Context, once called.
        task: The task that runs it, once started.
        in_handler: Whether the handler is running, so that the task may be cancelled.
        is_redelivered: Whether nsqd has delivered its message again, so that it is lost here.
        redelivery: That later delivery, which waits until this one has ended.
        is_done: Whether nothing is left to do for its message, whatever nsqd knows of that.
    """

    __slots__ = (
        "ctx",
        "decoded",
        "in_handler",
        "is_done",
        "is_redelivered",
        "key",
        "message",
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
        self.key = message.address, message.topic, message.id
        self.quiet_until_s = message.received_s + 0.5 * message.lease_s
        self.touched_s = message.received_s
        self.decoded: Decoded | None = None
        self.unread: DecodeError | UnknownEventError | None = None
        self.ctx: Context | None = None
        self.task: asyncio.Task[None] | None = None
        self.in_handler = self.is_redelivered = self.is_done = False
        self.redelivery: Delivery | None = None

    @property
    def event_type(self) -> str:
        """Its wire type, such as ``order.created.v1``; empty if that could not be read."""
        if self.decoded is not None:
            return self.decoded.wire_type
        return self.unread.event_type if self.unread is not None else ""

    @property
    def event_id(self) -> str | None:
        """The envelope's id; None if there is none, or it could not be read."""
        if self.decoded is not None:
            return self.decoded.event_id
        return self.unread.event_id if self.unread is not None else None

    @property
    def message_id(self) -> str:
        """Nsqd's id as text."""
        return self.message.id.decode("ascii", "replace")

    @property
    def log_fields(self) -> dict[str, Any]:
        """The fixed log fields of the message."""
        spec = self.shared.spec
        fields = {
            "message_id": self.message_id,
            "topic": spec.topic,
            "channel": spec.channel,
            "handler": spec.name,
            "attempts": self.message.attempts,
        }
        if self.event_id:
            fields["event_id"] = self.event_id
        return fields

    @property
    def lease_ends_s(self) -> float:
        """When it is lost, unless it is touched before."""
        message = self.message
        return lease.ends_s(
            message.received_s, self.touched_s, lease_s=message.lease_s, max_lease_s=message.max_lease_s
        )

    @property
    def cap_s(self) -> float:
        """When it is lost, however often it is touched."""
        return self.message.received_s + self.message.longest_hold_s

    @property
    def give_back_s(self) -> float:
        """When to give it back if it has not started: at the cap, while nsqd still accepts that."""
        return math.inf if self.task else self.cap_s - lease.margin_s(self.message.lease_s)

    @property
    def touch_s(self) -> float:
        """When to touch it next; infinite for never."""
        message = self.message
        return lease.touch_s(
            message.received_s,
            self.touched_s,
            lease_s=message.lease_s,
            max_lease_s=message.max_lease_s,
            keep_until_s=self.ctx.deadline_s if self.ctx is not None and self.in_handler else math.inf,
        )

    def is_over(self, now_s: float) -> bool:
        """Return whether its lease is over."""
        return self.is_redelivered or (now_s >= self.quiet_until_s and now_s >= self.lease_ends_s)

    def is_lost(self, now_s: float) -> bool:
        """Return whether nsqd no longer accepts an answer: the lease or the connection is over."""
        return self.is_over(now_s) or self.message.is_lost()

    @property
    def preparer(self) -> Preparer:
        """What encodes the messages that its handler publishes."""
        return self.shared.preparer

    def make_context(self) -> Context:
        """Return a Context of the message, and keep it."""
        message, decoded = self.message, self.decoded
        spec = self.shared.spec
        self.ctx = Context(
            topic=spec.topic,
            channel=spec.channel,
            attempts=message.attempts,
            message_id=message.id.decode("ascii", "replace"),
            timestamp_ns=message.timestamp_ns,
            event_id=decoded.event_id if decoded is not None else None,
            nsqd=message.address,
            body=message.body,
            deadline_s=message.received_s + message.longest_hold_s,
            now_s=self.shared.clock.now_s,
            delivery=self,
        )
        return self.ctx

    def wait(self) -> None:
        """Have its lease kept while it waits for the rest of its batch."""
        self.watch(self)

    def bind_log(self) -> Any:
        """Return a logger with the message's fields."""
        return self.shared.log.bind(**self.log_fields)
