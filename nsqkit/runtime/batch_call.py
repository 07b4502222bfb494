"""Batch call: one call of a batch handler, and the messages in it."""

import asyncio
import contextvars
from collections.abc import Mapping, Sequence
from typing import Any

from nsqkit.handler.batch import Delivery
from nsqkit.handler.resources import Resource
from nsqkit.policy.outcome import Outcome


class Member:
    """One message among others.

    Attributes:
        delivery: What the handler is given.
        end: What its call waits for.
        batch: The call of the handler that it is in; None while it waits for one.
        context: The context variables that extensions around it have set.
    """

    __slots__ = ("batch", "context", "delivery", "end")

    def __init__(self, delivery: Delivery[Any]) -> None:
        self.delivery = delivery
        self.end: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.batch: BatchCall | None = None
        self.context = contextvars.copy_context()

    def finish(self, outcome: Outcome) -> None:
        """Give the message its outcome, unless it has one."""
        if not self.end.done():
            self.end.set_result(outcome)

    def fail(self, error: BaseException) -> None:
        """Fail the message, unless it has an outcome."""
        if not self.end.done():
            self.end.set_exception(error)


class BatchCall:
    """One call of the handler.

    Attributes:
        members: Its messages.
        task: What runs it, once it does.
        is_abandoned: Whether it was cancelled because nobody waits for it any more.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.task: asyncio.Task[Any] | None = None
        self.is_abandoned = False

    def abandon(self) -> bool:
        """Cancel the call if nobody waits for it any more; return whether it was cancelled and will end."""
        if not self.is_abandoned and self.task and all(member.end.done() for member in self.members):
            self.is_abandoned = self.task.cancel()
        return self.is_abandoned and self.task is not None and not self.task.done()

    @property
    def cancelled(self) -> bool:
        """Whether its messages' handler is past its timeout; setting it tells all of them."""
        return all(member.delivery.ctx.cancelled for member in self.members)

    @cancelled.setter
    def cancelled(self, is_cancelled: bool) -> None:
        for member in self.members:
            member.delivery.ctx.cancelled = is_cancelled

    @property
    def resources(self) -> Mapping[Resource[Any], Any] | None:
        """The resources of its call; setting them shows them to all of its messages."""
        return self.members[0].delivery.ctx.resources

    @resources.setter
    def resources(self, resources: Mapping[Resource[Any], Any] | None) -> None:
        for member in self.members:
            member.delivery.ctx.resources = resources
