"""What the admin server tells of handlers, and asks of whoever runs them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class IntakeState(StrEnum):
    """What a handler's intake does now; of several reasons to rest the one that ends last."""

    RUNNING = "running"
    PAUSED = "paused"
    KILL_SWITCH_OPEN = "kill_switch_open"
    HALF_OPEN = "half_open"
    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class HandlerState:
    """One handler as it runs now.

    Args:
        name: The class name.
        topic: The source topic.
        channel: The channel.
        held: Messages held and not settled yet.
        max_in_flight: Messages that may be held.
        state: What its intake does.
        remaining_s: Seconds until that ends by itself; None where it does not.
        problems: Why it is not ready, a line each; empty if it is.
    """

    name: str
    topic: str
    channel: str
    held: int
    max_in_flight: int
    state: IntakeState
    remaining_s: float | None = None
    problems: tuple[str, ...] = ()


class Handlers(Protocol):
    """What the server asks the worker of its handlers."""

    def handler_states(self) -> tuple[HandlerState, ...]:
        """Return every handler as it runs now."""
        ...

    def pause_handler(self, name: str, for_s: float | None) -> bool:
        """Stop the intake of a handler.

        Args:
            name: Its class name.
            for_s: Seconds above 0; None until it is resumed.

        Returns:
            False if there is no such handler.
        """
        ...

    def resume_handler(self, name: str) -> bool:
        """End a handler's pause; what else holds its intake up goes on.

        Args:
            name: Its class name.

        Returns:
            False if there is no such handler.
        """
        ...
