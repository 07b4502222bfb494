"""Marks: the moments of the last 15 minutes that may explain a change. It decides no cause."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from nsqkit.admin import IntakeState
from nsqkit.monitor.ring import SECONDS, STEP_S
from nsqkit.telemetry.metrics import HandlerCounts, Labels

MOST_MARKS: Final = 100
MOST_CHARACTERS: Final = 300


class MarkKind(StrEnum):
    """What has happened."""

    START = "start"
    DEPLOY = "deploy"
    ENDED = "ended"
    PAUSE = "pause"
    RESUME = "resume"
    BREAKER = "breaker"
    KILL_SWITCH = "kill_switch"


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that may explain a change.

    Args:
        second: The second of the history.
        kind: What has happened.
        text: The event in words.
        handler: The handler that it is about; empty for all.
    """

    second: int
    kind: MarkKind
    text: str
    handler: str = ""

    def joined(self, other: "Mark") -> "Mark | None":
        """Return one mark for both; None if they are of different events or steps."""
        is_same = (self.kind, self.handler) == (other.kind, other.handler)
        if not is_same or self.second // STEP_S != other.second // STEP_S:
            return None
        return replace(self, text=f"{self.text}; {other.text}"[:MOST_CHARACTERS])


class Marks:
    """The last marks, the oldest first.

    A pause for a kill switch or a breaker has no mark, since each trial would end one. The change of the
    switch or the breaker is the mark.

    Args:
        reason_of: Returns why the intake of a handler is paused, by its name; None if that is not known.
    """

    def __init__(self, reason_of: Callable[[str], IntakeState | None]) -> None:
        self._reason_of = reason_of
        self._marks: list[Mark] = []
        self._paused: set[Labels] = set()
        self._open_breakers: frozenset[str] = frozenset()

    def since(self, second: int) -> list[Mark]:
        """Return the marks from a second on."""
        return [mark for mark in self._marks if mark.second >= second]

    def last_change(self) -> int | None:
        """Return the second of the last start or deploy; None if there is none in the history."""
        kinds = (MarkKind.START, MarkKind.DEPLOY)
        return next((mark.second for mark in reversed(self._marks) if mark.kind in kinds), None)

    def add(self, mark: Mark) -> None:
        """Keep a mark; several of one kind in the same step of 10 seconds are one."""
        joined = self._marks[-1].joined(mark) if self._marks else None
        if joined is not None:
            self._marks[-1] = joined
        else:
            self._marks.append(mark)
        oldest = mark.second - SECONDS
        self._marks = [each for each in self._marks[-MOST_MARKS:] if each.second > oldest]

    def take_breakers(self, second: int, is_open: frozenset[str]) -> None:
        """Compare the breakers that are open or half-open with those of the second before."""
        if is_open == self._open_breakers:
            return
        for name in sorted(is_open - self._open_breakers):
            self.add(Mark(second, MarkKind.BREAKER, f"the breaker of {name} has opened"))
        for name in sorted(self._open_breakers - is_open):
            self.add(Mark(second, MarkKind.BREAKER, f"the breaker of {name} has closed"))
        self._open_breakers = is_open

    def take_handler(self, second: int, old: HandlerCounts, new: HandlerCounts) -> None:
        """Compare the state of a handler with that of the second before."""
        name = new.labels[-1]
        if new.is_switched_off != old.is_switched_off:
            change = "opened" if new.is_switched_off else "closed"
            self.add(Mark(second, MarkKind.KILL_SWITCH, f"the kill switch of {name} has {change}", name))
        if new.is_paused and not old.is_paused:
            self._pause(second, new)
        elif old.is_paused and not new.is_paused and new.labels in self._paused:
            self._paused.discard(new.labels)
            self.add(Mark(second, MarkKind.RESUME, f"{name} takes in messages again", name))

    def _pause(self, second: int, counts: HandlerCounts) -> None:
        name = counts.labels[-1]
        reason = self._reason_of(name)
        if reason is None and (counts.is_switched_off or self._open_breakers):
            return
        if reason in _MARKED_ELSEWHERE:
            return
        is_blocked = reason is IntakeState.BLOCKED
        text = f"{name} is blocked until a person corrects the cause" if is_blocked else f"{name} is paused"
        self._paused.add(counts.labels)
        self.add(Mark(second, MarkKind.PAUSE, text, name))


_MARKED_ELSEWHERE: Final = (IntakeState.KILL_SWITCH_OPEN, IntakeState.BREAKER_OPEN, IntakeState.HALF_OPEN)
