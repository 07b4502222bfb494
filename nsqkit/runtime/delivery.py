"""Delivery: one message on its way from arrival to its outcome."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nsqkit.handler.context import Context, Prepare
from nsqkit.policy import lease
from nsqkit.runtime.message import Message

if TYPE_CHECKING:
    import asyncio

    from nsqkit.errors import DecodeError, UnknownEventError
    from nsqkit.events.codec import Decoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the deliveries of one handler have in common.

    Args:
        topic: The source topic.
        channel: The channel.
        now_s: The loop's monotonic clock.
        prepare: Encodes what a handler publishes.
        bind_log: Returns a logger for one delivery.
        watch: Has the lease keeper look at a delivery.
    """

    topic: str = ""
    channel: str = ""
    now_s: Callable[[], float] = time.monotonic
    prepare: Prepare
    bind_log: "Callable[[Delivery], Any]"
    watch: "Callable[[Delivery], None]"


class Delivery:
    """One message on its way, and what its Context tells.

    Args:
        message: What arrived.
        desk: Its handler's.

    Attributes:
        key: What tells its message from all others of the channel: an id repeats across topics and nsqd.
        quiet_until_s: Until when there is nothing to see to: no lease ends, or is to be prolonged, before
            its half.
        touched_s: When it was last touched; at first when it arrived.
        decoded: Its event, once decoded.
        unread: Why there is none, if there is none.
        ctx: What its handler was given, once called.
        task: What carries it, once started.
        in_handler: Whether the handler is running, so that the task may be cancelled.
        is_redelivered: Whether nsqd has delivered it again already, so that it is lost here.
        again: That next delivery, which waits for this one to end.
        is_done: Whether nothing is left to do for its message, whatever nsqd knows of that.
    """

    __slots__ = (
        "again",
        "ctx",
        "decoded",
        "desk",
        "in_handler",
        "is_done",
        "is_redelivered",
        "key",
        "message",
        "quiet_until_s",
        "task",
        "touched_s",
        "unread",
    )

    def __init__(self, message: Message, desk: Desk) -> None:
        self.message = message
        self.desk = desk
        self.key = message.address, message.topic, message.id
        self.quiet_until_s = message.received_s + 0.5 * message.lease_s
        self.touched_s = message.received_s
        self.decoded: Decoded | None = None
        self.unread: DecodeError | UnknownEventError | None = None
        self.ctx: Context | None = None
        self.task: asyncio.Task[None] | None = None
        self.in_handler = self.is_redelivered = self.is_done = False
        self.again: Delivery | None = None

    @property
    def event_type(self) -> str:
        """Its wire type, such as ``order.created.v1``; empty where that could not be read."""
        if self.decoded is not None:
            return self.decoded.wire_type
        return self.unread.event_type if self.unread is not None else ""

    @property
    def event_id(self) -> str | None:
        """The envelope's id; None where there is none, or it could not be read."""
        if self.decoded is not None:
            return self.decoded.event_id
        return self.unread.event_id if self.unread is not None else None

    @property
    def message_id(self) -> str:
        """Nsqd's id as text."""
        return self.message.id.decode("ascii", "replace")

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
        message = self.message
        return lease.cap_s(message.received_s, lease_s=message.lease_s, max_lease_s=message.max_lease_s)

    @property
    def give_back_s(self) -> float:
        """When to give it back if it has not been started: at the cap, while nsqd still takes that."""
        return math.inf if self.task else self.cap_s - lease.margin_s(self.message.lease_s)

    @property
    def keep_until_s(self) -> float:
        """Until when it is touched; infinite while it waits or is settled."""
        return self.ctx.deadline_s if self.ctx is not None and self.in_handler else math.inf

    @property
    def touch_s(self) -> float:
        """When to touch it next; infinite for never."""
        message = self.message
        return lease.touch_s(
            message.received_s,
            self.touched_s,
            lease_s=message.lease_s,
            max_lease_s=message.max_lease_s,
            keep_until_s=self.keep_until_s,
        )

    def is_over(self, now_s: float) -> bool:
        """Return whether its lease is over."""
        return self.is_redelivered or (now_s >= self.quiet_until_s and now_s >= self.lease_ends_s)

    def is_lost(self, now_s: float) -> bool:
        """Return whether nsqd no longer takes an answer: the lease or the connection is over."""
        return self.is_over(now_s) or self.message.is_lost()

    # What its Context asks, see ``nsqkit.handler.context.Subject``.

    @property
    def topic(self) -> str:
        """The source topic."""
        return self.desk.topic

    @property
    def channel(self) -> str:
        """The channel."""
        return self.desk.channel

    @property
    def attempts(self) -> int:
        """Deliveries so far, this one included."""
        return self.message.attempts

    @property
    def timestamp_ns(self) -> int:
        """When nsqd took the message."""
        return self.message.timestamp_ns

    @property
    def nsqd(self) -> str:
        """Who delivered it."""
        return self.message.address

    @property
    def now_s(self) -> Callable[[], float]:
        """The clock."""
        return self.desk.now_s

    @property
    def prepare(self) -> Prepare:
        """Encodes what the handler publishes."""
        return self.desk.prepare

    def bind_log(self) -> Any:
        """Return a logger with the message's fields."""
        return self.desk.bind_log(self)

    def lease_lost(self) -> bool:
        """Return whether it is lost by now."""
        return self.is_lost(self.desk.now_s())

    def on_wait(self) -> None:
        """Have its lease kept while it waits."""
        self.desk.watch(self)
