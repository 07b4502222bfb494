"""New faults: what to say of faults that last or change, in a few lines a minute. It logs nothing itself."""

import math
from collections.abc import Iterable
from typing import Final

_MOST_NAMED: Final = 5
_MOST_LINES: Final = 3
_MINUTE_S: Final = 60.0


class NewFaults:
    """Finds the faults that were not there before, each once for as long as it lasts.

    A hostile peer may be wrong in another way at each poll. So there are three lines a minute at most; then
    new faults are counted, and those that last are named in the next minute.
    """

    def __init__(self) -> None:
        self._named: frozenset[str] = frozenset()
        self._minute_s = -math.inf  # when the present minute began
        self._lines = 0  # in this minute
        self._left = 0  # not named since the last line

    def take(self, faults: Iterable[str], *, now_s: float) -> str:
        """Return a line that names new faults; empty if there is none, or it must wait.

        Args:
            faults: All that is wrong now; a fault that is missing is over, and new if it comes again.
            now_s: Time of a monotonic clock, in seconds.

        Returns:
            At most five faults, and how many more there were since the line before. One that has to wait
            counts each time.
        """
        found = frozenset(faults)
        self._named &= found
        new = sorted(found - self._named)
        if not new:
            return ""
        if now_s - self._minute_s >= _MINUTE_S:
            self._minute_s, self._lines = now_s, 0
        if self._lines == _MOST_LINES:
            self._left += len(new)
            return ""
        left = self._left + len(new[_MOST_NAMED:])
        self._named, self._lines, self._left = found, self._lines + 1, 0
        return "; ".join(new[:_MOST_NAMED]) + (f"; and {left} more" if left else "")
