"""Deadlines: call a function for each member after the same time, with one timer for all of them."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from nsqkit.handler.current import without_message

T = TypeVar("T")


class Deadlines(Generic[T]):
    """Members with a deadline: the first that was added is the first that is due.

    The timer is set when a member is added and none is set. It is not cancelled when members leave: most
    leave early, and a timer for each costs more than one that fires in vain now and then.

    Args:
        after_s: Seconds after which a member is due; 0 or more.
        on_due: Called with each member that is due, which is a member no longer.
    """

    def __init__(self, after_s: float, on_due: Callable[[T], None]) -> None:
        self._after_s = after_s
        self._on_due = on_due
        self._due_s: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: T) -> float:
        """Add a member, which is not one yet, and return when it is due, on the event loop's clock."""
        loop = asyncio.get_running_loop()
        self._due_s[member] = due_s = loop.time() + self._after_s
        if self._timer is None:
            self._timer = loop.call_at(due_s, self._fire, due_s, context=without_message())
        return due_s

    def discard(self, member: T) -> None:
        """Remove a member if it is one."""
        self._due_s.pop(member, None)

    def close(self) -> None:
        """Stop the timer. Final."""
        self._due_s.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _fire(self, now_s: float) -> None:
        self._timer = None
        while self._due_s:
            member, due_s = next(iter(self._due_s.items()))
            if due_s > now_s:
                self._timer = asyncio.get_running_loop().call_at(due_s, self._fire, due_s)
                return
            del self._due_s[member]
            self._on_due(member)
