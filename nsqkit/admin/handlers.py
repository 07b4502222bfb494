"""Handlers: their state as the admin server shows it, and the protocol for pausing and resuming them."""

from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class IntakeState(StrEnum):
    """What a handler's intake does now. If it is paused for several reasons, the one that ends last."""

    RUNNING = "running"
    PAUSED = "paused"
    KILL_SWITCH_OPEN = "kill_switch_open"
    HALF_OPEN = "half_open"
    BREAKER_OPEN = "breaker_open"
    RATE_LIMITED = "rate_limited"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True)
class HandlerState:
    """The present state of one handler.

    Args:
        name: The handler's class name.
        topic: The source topic.
        channel: The handler's channel.
        held: Messages in flight.
        max_in_flight: Messages that may be in flight.
        state: What the intake does.
        remaining_s: Seconds until the state ends by itself; None if it does not.
        problems: Why the handler is not ready, one line each; empty if it is ready.
        lost_slots: Calls that run on although the lease of their message is over; *max_in_flight* is lowered
            by them.
        has_producer: Whether an nsqd has the topic; None if that is not known, or nsqd are configured.
        paused_in_nsqd: What is paused in nsqd, as ``host:port topic`` or ``host:port topic/channel``, with
            nsqd's HTTP address; None if no nsqd has answered.
        stalled_in_nsqd: Where an nsqd keeps messages back although the handler has room for them, as
            ``host:port topic/channel``, with nsqd's HTTP address.
        worker: Number of the worker process with ``--workers``, from 1; 0 without.
        lag: Of a bridge's route: records that wait at the other broker; None if that is not known.
        last_error: Of a bridge's route: the time and the text of its last error; empty if there was none.
    """

    name: str
    topic: str
    channel: str
    held: int
    max_in_flight: int
    state: IntakeState
    remaining_s: float | None = None
    problems: tuple[str, ...] = ()
    lost_slots: int = 0
    has_producer: bool | None = None
    paused_in_nsqd: tuple[str, ...] | None = None
    stalled_in_nsqd: tuple[str, ...] = ()
    worker: int = 0
    lag: int | None = None
    last_error: str = ""


class Handlers(Protocol):
    """The handlers of a worker, or of several processes, as the admin server needs them."""

    def handler_states(self) -> tuple[HandlerState, ...] | Awaitable[tuple[HandlerState, ...]]:
        """Return the present state of every handler."""
        ...

    def pause_handler(self, name: str, for_s: float | None) -> bool | Awaitable[bool]:
        """Stop the intake of a handler.

        Args:
            name: The handler's class name.
            for_s: Seconds until it resumes by itself, above 0; None for never.

        Returns:
            False if there is no such handler.
        """
        ...

    def resume_handler(self, name: str) -> bool | Awaitable[bool]:
        """End a handler's pause; other reasons that pause its intake remain.

        Args:
            name: The handler's class name.

        Returns:
            False if there is no such handler.
        """
        ...
