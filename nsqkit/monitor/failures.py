"""Failures: the errors of one handler by type and line, with the last examples of each, all bounded."""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from nsqkit.handler.origin import place_of
from nsqkit.monitor.ring import STEP_S, STEPS
from nsqkit.policy.leaves import type_name
from nsqkit.policy.redaction import describe, redact
from nsqkit.policy.verdict import OutcomeLabel, Verdict
from nsqkit.runtime.delivery import Delivery
from nsqkit.runtime.failure import stack_of
from nsqkit.telemetry.outcome_text import outcome_text

MOST_GROUPS: Final = 20
"""Groups of errors that are kept for each handler; the one that has not been seen for longest goes first."""
MOST_EXAMPLES: Final = 3
_MOST_KEYS: Final = 200
_SHOWN_PARTS: Final = 2


@dataclass(frozen=True, slots=True)
class Example:
    """One failed delivery, redacted.

    Args:
        second: The second of the history.
        message_id: nsqd's id of the message.
        attempts: Deliveries of the message so far, this one included.
        max_attempts: Most of them.
        outcome: The outcome in words.
        text: The error's type and text.
        stack: The end of its stack trace.
    """

    second: int
    message_id: str
    attempts: int
    max_attempts: int
    outcome: str
    text: str
    stack: str


@dataclass(slots=True)
class Group:
    """Errors of one type at one line.

    Args:
        error_type: Name of the exception's type.
        place: ``folder/file:line`` of the team's code; empty if it is not known.
        first: The second of the first of them.
        last: The second of the last of them.
        steps: Their number by step of 10 seconds, the last 15 minutes at most.
        examples: The last of them, at most one a second.
    """

    error_type: str
    place: str
    first: int
    last: int
    steps: dict[int, int] = field(default_factory=dict)
    examples: deque[Example] = field(default_factory=lambda: deque(maxlen=MOST_EXAMPLES))

    def add(self, second: int) -> None:
        """Count one more."""
        step = second // STEP_S
        self.last = second
        self.steps[step] = self.steps.get(step, 0) + 1
        if len(self.steps) > STEPS:
            del self.steps[next(iter(self.steps))]

    def count(self, second: int, seconds: int) -> int:
        """Return their number in the last seconds, to a step of 10 seconds."""
        oldest = (second - seconds) // STEP_S + 1
        return sum(count for step, count in self.steps.items() if step >= oldest)


class Failures:
    """The failures of one handler, with a cost per failure that does not depend on their rate.

    An example is made at most once a second for each group: texts and stacks take a hundred times as long as
    the count.

    Args:
        now_s: The clock of the history, seconds.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._known: dict[Hashable, Group] = {}
        self._groups: dict[tuple[str, str], Group] = {}

    @property
    def groups(self) -> tuple[Group, ...]:
        """All groups, in no order."""
        return tuple(self._groups.values())

    def add(self, delivery: Delivery, verdict: Verdict | None, error: BaseException) -> None:
        """Count a failure, and keep an example of it.

        Args:
            delivery: The delivery that failed.
            verdict: Its verdict; None if it is kept to be handled again.
            error: The exception.
        """
        second = int(self._now_s())
        key = (type(error), *_lines(error.__traceback__))
        group = self._known.get(key)
        if group is None:
            group = self._group(key, error, second)
        group.add(second)
        if not group.examples or group.examples[-1].second != second:
            group.examples.append(_example(second, delivery, verdict, error))

    def _group(self, key: Hashable, error: BaseException, second: int) -> Group:
        if len(self._known) >= _MOST_KEYS:  # a line may be reached in any number of ways
            self._known.clear()
        name = redact(type_name(error)), _shown(place_of(error, or_library=True))
        if name not in self._groups:
            if len(self._groups) >= MOST_GROUPS:
                self._forget()
            self._groups[name] = Group(*name, second, second)
        self._known[key] = self._groups[name]
        return self._groups[name]

    def _forget(self) -> None:
        oldest = min(self._groups, key=lambda name: self._groups[name].last)
        forgotten = self._groups.pop(oldest)
        self._known = {key: group for key, group in self._known.items() if group is not forgotten}


def _example(second: int, delivery: Delivery, verdict: Verdict | None, error: BaseException) -> Example:
    max_attempts = delivery.shared.rules.retry.max_attempts
    return Example(
        second,
        delivery.message.id.decode("ascii", "replace"),
        delivery.attempts,
        max_attempts,
        _outcome(verdict, delivery.attempts, max_attempts),
        describe(error),
        stack_of(error),
    )


def _outcome(verdict: Verdict | None, attempts: int, max_attempts: int) -> str:
    if verdict is None:
        return "kept, to be handled again"
    fields = {
        "outcome": str(verdict.label),
        "reason": str(verdict.reason),
        "delay_s": verdict.delay_s if verdict.label is OutcomeLabel.REQUEUE else None,
        "attempts": attempts,
        "max_attempts": max_attempts,
    }
    return outcome_text(fields)


def _lines(trace: TracebackType | None) -> tuple[Hashable, ...]:
    """Return what tells places that raise apart: the lines of the stack, and the innermost code."""
    code, lines = None, []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return (code, *lines)


def _shown(place: str) -> str:
    """Return the last folder, the file and the line of a place."""
    return str(Path(*Path(place).parts[-_SHOWN_PARTS:])) if place else ""
