"""Current: the message that the running code handles, so that its log lines can name it."""

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from operator import truth
from typing import Any, Final, Protocol


class Logged(Protocol):
    """A message, or a batch of them, as log lines name it."""

    @property
    def log_fields(self) -> Mapping[str, Any]: ...  # noqa: D102


class _NoMessage:
    """The current message where there is none.

    It equals every message, so that contexts of two messages are equal unless a handler has changed another
    variable. The comparison is in C: it is made once per message.
    """

    log_fields: Mapping[str, Any] = {}
    __eq__: Any = truth
    __hash__: Any = None


NO_MESSAGE: Final[Logged] = _NoMessage()
CURRENT: Final[ContextVar[Logged]] = ContextVar("nsqkit_message", default=NO_MESSAGE)
"""The current message. Tasks and threads that a handler starts keep the one that it had then."""


def without_message() -> Context:
    """Return a copy of the present context without the message, for a timer that outlives it."""
    context = copy_context()
    context.run(CURRENT.set, NO_MESSAGE)
    return context


def log_fields() -> dict[str, Any]:
    """Return the log fields of the message that the running code handles.

    A program that configures its logs itself adds them to its lines with this function, in a
    ``logging.Filter`` or a structlog processor. ``configure_logs`` does so by itself.

    Returns:
        Fields by name, such as ``request_id``, ``message_id`` and ``handler``; none outside of handlers.
    """
    return dict(CURRENT.get().log_fields)
