"""Batch call: one call of a batch handler, and the messages in it."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from nsqkit.handler.batch import Delivery
from nsqkit.handler.resources import Resource
from nsqkit.policy.outcome import Duplicate, Outcome

if TYPE_CHECKING:
    from nsqkit.errors import UnawaitedError


_COMMON_FIELDS: Final = frozenset({"topic", "channel", "handler", "trace_id", "span_id"})


class WithheldError(asyncio.CancelledError):
    """The message was not handled, since the gate has been shut; it waits until the gate opens."""


class Member:
    """One message of a batch.

    Attributes:
        delivery: Key, event and Context of the message, as the handler receives them.
        end: Future of the outcome, awaited by the message's call.
        batch: The handler call that includes the message; None while it waits for one.
        context: Context variables that extensions around the message have set.
    """

    __slots__ = ("batch", "context", "delivery", "end")

    def __init__(self, delivery: Delivery[Any]) -> None:
        self.delivery = delivery
        self.end: asyncio.Future[Outcome | Duplicate] = asyncio.get_running_loop().create_future()
        self.batch: BatchCall | None = None
        self.context = contextvars.copy_context()

    def finish(self, outcome: Outcome | Duplicate) -> None:
        """Set the outcome of the message, unless it is settled already."""
        if not self.end.done():
            self.end.set_result(outcome)

    def fail(self, error: Exception | WithheldError) -> None:
        """Set the error of the message, unless it is settled already."""
        if not self.end.done():
            self.end.set_exception(error)


class BatchCall:
    """One call of a batch handler.

    Attributes:
        members: The messages of the batch, in order of arrival; 1 or more.
        task: The task that runs the call; None before it starts.
        is_abandoned: Whether the call was cancelled because no message needs its outcome any more.
        unawaited: The first coroutine that the handler did not await; None if there is none.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.task: asyncio.Task[Any] | None = None
        self.is_abandoned = False
        self.unawaited: UnawaitedError | None = None

    @property
    def log_fields(self) -> Mapping[str, Any]:
        """The log fields that the messages have in common, and their number; all of a single message."""
        first = self.members[0].delivery.ctx.log_fields
        if len(self.members) == 1:
            return first
        common = {name: value for name, value in first.items() if name in _COMMON_FIELDS}
        return common | {"messages": len(self.members)}

    def abandon(self) -> bool:
        """Cancel the call if all its messages have ended; return whether it is cancelled and still runs."""
        if not self.is_abandoned and self.task and all(member.end.done() for member in self.members):
            self.is_abandoned = self.task.cancel()
        return self.is_abandoned and self.task is not None and not self.task.done()

    @property
    def cancelled(self) -> bool:
        """Whether the call has run past its timeout; setting it sets ``ctx.cancelled`` of every message."""
        return all(member.delivery.ctx.cancelled for member in self.members)

    @cancelled.setter
    def cancelled(self, is_cancelled: bool) -> None:
        for member in self.members:
            member.delivery.ctx.cancelled = is_cancelled

    def overrun(self, timeout_s: float) -> None:
        """Note for every message that the call returned after its timeout."""
        for member in self.members:
            member.delivery.ctx.overrun(timeout_s)

    def stuck(self, at: str) -> None:
        """Log, with the first message, that the call goes on after every cancellation."""
        self.members[0].delivery.ctx.stuck(at)

    @property
    def resources(self) -> Mapping[Resource[Any], Any] | None:
        """The open resources of the call; setting them sets ``ctx.resources`` of every message."""
        return self.members[0].delivery.ctx.resources

    @resources.setter
    def resources(self, resources: Mapping[Resource[Any], Any] | None) -> None:
        for member in self.members:
            member.delivery.ctx.resources = resources


def checked_outcomes(
    handler: str, returned: Any, deliveries: Sequence[Delivery[Any]]
) -> dict[str, Outcome | Duplicate]:
    """Return what a batch handler returned, if it is outcomes by the keys of its deliveries.

    Args:
        handler: Name of the handler class.
        returned: What it returned; None stands for no outcomes.
        deliveries: What it was called with.

    Raises:
        TypeError: If it is no mapping, or a value is no outcome; the text says what to return.
        ValueError: If a key is none of a delivery.
    """
    prefix = f"{handler}.handle returned"
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise TypeError(f"{prefix} a {type(returned).__name__}; return None or outcomes by key")
    keys = {delivery.key for delivery in deliveries}
    for key, outcome in returned.items():
        if key not in keys:
            raise ValueError(f"{prefix} an outcome for {key!r}; use the keys of the deliveries")
        if not isinstance(outcome, Outcome | Duplicate):
            raise TypeError(f"{prefix} {outcome!r} for {key!r}; give an outcome like Requeue(5)")
    return cast("dict[str, Outcome | Duplicate]", dict(returned))
