"""Child state: what a child worker answers about itself, as values of JSON and back."""

from dataclasses import dataclass
from typing import Any

import msgspec

from nsqkit.admin import HandlerState


@dataclass(frozen=True, slots=True)
class ChildState:
    """The present state of a child worker.

    Args:
        faults: Why only a restart helps, one line each.
        problems: Why it is not ready, one line each.
        handlers: State of every handler.
        held: Messages in flight.
        next_requeue_s: Seconds until the first of its deferred messages is due; None if none is.
        is_blocked: Whether the intake of a handler is stopped.
    """

    faults: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    handlers: tuple[HandlerState, ...] = ()
    held: int = 0
    next_requeue_s: float | None = None
    is_blocked: bool = False

    def values(self) -> Any:
        """Return it as values that JSON has."""
        return msgspec.to_builtins(self)

    @classmethod
    def read(cls, values: Any) -> "ChildState":
        """Return the state that :meth:`values` was called on.

        Raises:
            ValueError: If the values are not those of a state.
        """
        return msgspec.convert(values, cls)
