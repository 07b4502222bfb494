"""Ring: one number for each of the last 900 seconds. It reads no clock."""

from array import array
from collections.abc import Sequence
from typing import Final

SECONDS: Final = 900
"""The length of the history."""
STEP_S: Final = 10
"""Seconds of one step of a series."""
STEPS: Final = SECONDS // STEP_S


class Ring:
    """One whole number a second.

    Seconds are counted from any moment. Each is put once, in order; those before the first are 0.
    """

    __slots__ = ("_totals", "_values")

    def __init__(self) -> None:
        self._values = array("I", bytes(array("I").itemsize * SECONDS))
        self._totals = array("I", bytes(array("I").itemsize * STEPS))

    def put(self, second: int, value: int) -> None:
        """Keep a number, instead of the one of 900 seconds before.

        Args:
            second: The second of the number.
            value: 0 or more; 10 of them together at most 2**32 - 1.
        """
        step = second // STEP_S % STEPS
        if not second % STEP_S:
            self._totals[step] = 0
        self._totals[step] += value
        self._values[second % SECONDS] = value

    def last(self, second: int, seconds: int) -> Sequence[int]:
        """Return the numbers of the last seconds, the oldest first.

        Args:
            second: The last of them.
            seconds: How many; 1 to 900.
        """
        end = second % SECONDS + 1
        if seconds <= end:
            return self._values[end - seconds : end]
        return self._values[end - seconds :] + self._values[:end]

    def totals(self, second: int) -> Sequence[int]:
        """Return the sums of the 90 steps of 10 seconds, the oldest first.

        Args:
            second: The last second that was put; the last step has only those up to it.
        """
        end = second // STEP_S % STEPS + 1
        return self._totals[end:] + self._totals[:end]
