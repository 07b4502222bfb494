"""Delivery: one message on its way from arrival to its outcome."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nsqkit.codec import Decoded
from nsqkit.context import Context
from nsqkit.policy import lease
from nsqkit.runtime.message import Message

if TYPE_CHECKING:
    import asyncio


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way.

    Args:
        message: What arrived.
        touched_s: When it was last touched; at first when it arrived.
        decoded: Its event, once decoded.
        event_type: Its wire type, such as ``order.created.v1``; empty where that could not be read.
        event_id: The envelope's id; None where there is none, or it could not be read.
        ctx: What its handler was given, once called.
        task: What carries it, once started.
        in_handler: Whether the handler is running, so that the task may be cancelled.
        is_redelivered: Whether nsqd has delivered it again already, so that it is lost here.
        again: That next delivery, which waits for this one to end.
        is_done: Whether nothing is left to do for its message, whatever nsqd knows of that.
    """

    message: Message
    touched_s: float = field(init=False)
    decoded: Decoded | None = None
    event_type: str = ""
    event_id: str | None = None
    ctx: Context | None = None
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)
    in_handler: bool = False
    is_redelivered: bool = False
    again: "Delivery | None" = None
    is_done: bool = False

    def __post_init__(self) -> None:
        self.touched_s = self.message.received_s

    @property
    def key(self) -> tuple[str, str, bytes]:
        """What tells its message from all others of the channel: an id repeats across topics and nsqd."""
        message = self.message
        return message.address, message.topic, message.id

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

    def is_lost(self, now_s: float) -> bool:
        """Return whether nsqd no longer takes an answer: the lease or the connection is over."""
        return self.is_redelivered or now_s >= self.lease_ends_s or self.message.is_lost()
