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

    Seconds are counted from any moment, and never backwards. A second that was not put is 0.
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = array("I", bytes(array("I").itemsize * SECONDS))

    def put(self, second: int, value: int) -> None:
        """Keep a number, instead of the one of 900 seconds before.

        Args:
            second: The second of the number.
            value: 0 to 2**32 - 1.
        """
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

    def steps(self, second: int) -> list[Sequence[int]]:
        """Return the numbers by steps of 10 seconds, 90 of them; the last step has only those so far."""
        newest = second % STEP_S + 1
        values = self.last(second, newest + (STEPS - 1) * STEP_S)
        return [values[start : start + STEP_S] for start in range(0, len(values), STEP_S)]
