"""Folds: which of many like log lines are written, and which are only counted. It writes none."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

FIRST_WINDOW_S: Final = 5.0
"""Seconds after a line in which its repeats are counted."""
LONGEST_WINDOW_S: Final = 60.0
"""The windows of a kind that goes on grow to so many seconds, each twice as long as the one before."""
MOST_KINDS: Final = 32
"""Kinds of lines at a time; repeats and first lines of all further kinds are counted together."""

Line = TypeVar("Line")


class Repeats(NamedTuple, Generic[Line]):
    """How often lines of one kind have repeated.

    Args:
        line: The line that was written; None for all kinds that are too many.
        times: Lines that were counted instead of written; 1 or more.
        for_s: Seconds in which they came.
    """

    line: Line | None
    times: int
    for_s: float


@dataclass(slots=True)
class _Window(Generic[Line]):
    line: Line | None
    since_s: float
    for_s: float = FIRST_WINDOW_S
    count: int = 0

    @property
    def ends_s(self) -> float:
        return self.since_s + self.for_s


class Folds(Generic[Line]):
    """Counts lines that repeat one that was written a short time ago.

    The first line of a kind is written, and opens a window of ``FIRST_WINDOW_S``. Further ones are counted
    until the window ends. Then the count is due, and a longer window opens; without repeats the kind is
    forgotten. Times are those of a monotonic clock, in seconds.

    Attributes:
        due_s: When the first count is due; infinite if nothing is counted.
    """

    def __init__(self) -> None:
        self._windows: dict[Hashable, _Window[Line]] = {}
        self._others: _Window[Line] | None = None
        self.due_s = math.inf

    def count(self, kind: Hashable, *, now_s: float) -> bool:
        """Count a line if it repeats another, and return whether it does; else it is to be written.

        Args:
            kind: What like lines have in common.
            now_s: The present time.
        """
        window = self._windows.get(kind)
        if window is None and len(self._windows) >= MOST_KINDS:
            self._forget(now_s)
            window = self._other(now_s) if len(self._windows) >= MOST_KINDS else None
        if window is None or (not window.count and now_s >= window.ends_s):
            return False
        window.count += 1
        if window.count == 1:
            self.due_s = min(self.due_s, window.ends_s)
        return True

    def add(self, kind: Hashable, line: Line, *, now_s: float) -> None:
        """Open the window of a line that is written now, after :meth:`count` has returned False."""
        self._windows[kind] = _Window(line, now_s)

    def take(self, *, now_s: float, all_counts: bool = False) -> list[Repeats[Line]]:
        """Return the counts that are due, and begin their next windows.

        Args:
            now_s: The present time.
            all_counts: Whether to return all counts, because the process ends.
        """
        due = [each for each in self._open() if each.count and (all_counts or now_s >= each.ends_s)]
        repeats = [Repeats(each.line, each.count, now_s - each.since_s) for each in due]
        for each in due:
            each.since_s, each.count = now_s, 0
            each.for_s = min(2 * each.for_s, LONGEST_WINDOW_S)
        self.due_s = min((each.ends_s for each in self._open() if each.count), default=math.inf)
        return repeats

    def _open(self) -> list[_Window[Line]]:
        return [*self._windows.values(), *([self._others] if self._others else [])]

    def _other(self, now_s: float) -> _Window[Line]:
        if self._others is None or not self._others.count:
            self._others = _Window(None, now_s, self._others.for_s if self._others else FIRST_WINDOW_S)
        return self._others

    def _forget(self, now_s: float) -> None:
        """Forget the kinds that have not repeated in their window."""
        over = [kind for kind, each in self._windows.items() if not each.count and now_s >= each.ends_s]
        for kind in over:
            del self._windows[kind]
