"""Limit: a figure of the process, such as its CPU time, and the limit above which it is saturated."""

from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from nsqkit.monitor.ring import STEP_S, STEPS
from nsqkit.policy.requeue_level import Level
from nsqkit.policy.saturation import Saturation, passed_for_s

NOW_S: Final = 10
"""Seconds that count as now."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A figure of the process and its limit.

    Args:
        key: Its name in JSON.
        label: Its name in words.
        unit: The unit of the figure.
        limit: The highest value that is not above it; None if there is none.
        values: The figure of each second, the oldest first; 1 to 900.
        is_bound: Whether the figures are upper bounds.
    """

    key: str
    label: str
    unit: str
    limit: float | None
    values: list[float]
    is_bound: bool = False

    @property
    def recent(self) -> float:
        """The median of the last 10 seconds."""
        return median(self.values[-NOW_S:] or [0.0])

    @property
    def saturation(self) -> Saturation | None:
        """For how long the limit has been passed; None if it is not."""
        for_s = 0 if self.limit is None else passed_for_s(self.values, self.limit)
        text = f"{self.label} {self.recent:.0f} {self.unit}, limit {self.limit or 0.0:.0f}"
        return Saturation(text, for_s) if for_s else None

    def shown(self, second: int) -> dict[str, Any]:
        """Return it as JSON, with the highest value of each step of 10 seconds.

        Args:
            second: The second of the last value.
        """
        newest = second % STEP_S + 1
        ends = range(len(self.values) - newest, 0, -STEP_S)
        steps = [self.values[-newest:], *(self.values[max(0, end - STEP_S) : end] for end in ends)]
        series: list[float | None] = [round(max(step), 1) if step else None for step in reversed(steps)]
        return {
            "key": self.key,
            "label": self.label,
            "unit": self.unit,
            "value": round(self.recent, 1),
            "peak": round(max(self.values[-NOW_S:], default=0.0), 1),
            "is_bound": self.is_bound,
            "limit": self.limit,
            "level": Level.OK if self.saturation is None else Level.WARN,
            "series": ([None] * STEPS + series)[-STEPS:],
        }
