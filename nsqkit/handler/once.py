"""Once: what the class keyword ``once`` takes; ``nsqkit.sql.Database`` implements it."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from nsqkit.handler.extension import Extension

EventKey = Callable[[Any], str]
"""Returns what identifies an event that has no envelope; the same for every copy of the event."""


BatchHandle = Callable[[Any], Any]
"""The ``handle`` method of a batch handler, plain or a coroutine function."""


class BatchInbox(Extension):
    """The inbox of a ``BatchHandler``: around ``handle`` itself, inside the resources of the call."""

    @abstractmethod
    def around(self, handle: BatchHandle) -> BatchHandle:
        """Return a method that leaves out messages handled before, and gives them the outcome ``Duplicate``.

        Args:
            handle: The method; it may be called with fewer deliveries, and is not called with none.
        """


@runtime_checkable
class Once(Protocol):
    """A database that remembers which events a handler has handled.

    Attributes:
        name: Name of the database.
    """

    name: str

    def inbox(self, handler: str, *, is_async: bool, event_key: EventKey | None) -> Extension:
        """Return the extension that lets a handler handle each event once, as its innermost layer.

        Args:
            handler: Name of the handler class.
            is_async: Whether its ``handle`` is a coroutine function; otherwise it runs in threads.
            event_key: Identifies events without an envelope; None if the handler takes none.
        """

    def batch_inbox(self, handler: str, *, is_async: bool, event_key: EventKey | None) -> BatchInbox:
        """Return the same for a batch handler; arguments as of :meth:`inbox`."""
