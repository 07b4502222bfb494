"""Delivery: one message on its way from arrival to its outcome."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nsqkit.codec import Decoded
from nsqkit.context import Context
from nsqkit.runtime.message import Message

if TYPE_CHECKING:
    import asyncio


@dataclass(slots=True, eq=False)
class Delivery:
    """One message on its way.

    Args:
        message: What arrived.
        decoded: Its event, once decoded.
        event_type: Its wire type, such as ``order.created.v1``; empty where that could not be read.
        event_id: The envelope's id; None where there is none, or it could not be read.
        ctx: What its handler was given, once called.
        task: What carries it, once started.
        in_handler: Whether the handler is running, so that the task may be cancelled.
    """

    message: Message
    decoded: Decoded | None = None
    event_type: str = ""
    event_id: str | None = None
    ctx: Context | None = None
    task: "asyncio.Task[None] | None" = field(default=None, repr=False)
    in_handler: bool = False

    @property
    def message_id(self) -> str:
        """Nsqd's id as text."""
        return self.message.id.decode("ascii", "replace")
