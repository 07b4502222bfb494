"""Saturation: which limits of a process or a handler are passed, and for how long. It measures nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

_STEP_S = 10


@dataclass(frozen=True, slots=True)
class Saturation:
    """A limit that is passed.

    Args:
        text: The figure and its limit in words.
        for_s: Seconds for which it has been passed; at least 10.
        handler: The handler whose limit it is; empty for a limit of the process.
    """

    text: str
    for_s: int
    handler: str = ""

    @property
    def words(self) -> str:
        """What is saturated, and how."""
        return f"{self.handler}: {self.text}" if self.handler else self.text


def passed_for_s(values: Sequence[float], limit: float) -> int:
    """Return for how many seconds a figure has been above its limit, in steps of 10 seconds.

    The median of a step counts, so that a single pause of garbage collection is no saturation.

    Args:
        values: The figure of each second, the oldest first.
        limit: The highest value that is not above it.
    """
    passed_s = 0
    for end in range(len(values), _STEP_S - 1, -_STEP_S):
        if median(values[end - _STEP_S : end]) <= limit:
            break
        passed_s += _STEP_S
    return passed_s
