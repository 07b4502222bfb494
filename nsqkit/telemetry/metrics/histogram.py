"""Histograms: how often values fell into which bucket, and the quantiles estimated from that."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from prometheus_client.utils import floatToGoString

# Seconds, upper bounds, inclusive. Durations are read as quantiles, so their buckets are fine.
DURATION_BUCKETS_S: Final = (
    *(
        0.00001,
        0.00002,
        0.00005,
        0.0001,
        0.0002,
        0.0003,
        0.0005,
        0.00075,
        0.001,
        0.0015,
        0.002,
        0.003,
        0.005,
        0.0075,
    ),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
AGE_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
WAIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """Counts of values by bucket.

    Args:
        bounds: Upper bounds of the buckets, inclusive and growing; one more bucket takes all that is above.
    """

    __slots__ = ("_bounds", "_counts", "_largest", "_smallest", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._smallest = math.inf
        self._largest = 0.0

    def observe(self, value: float) -> None:
        """Count one value; one below zero, from a clock that was set back, counts as zero."""
        if value < 0.0:  # noqa: PLR1730 - a call of max() takes three times as long, thrice
            value = 0.0
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        if value < self._smallest:  # noqa: PLR1730
            self._smallest = value
        if value > self._largest:  # noqa: PLR1730
            self._largest = value

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile by a straight line inside the bucket that holds it.

        The line ends at the smallest and the largest value that were seen.

        Args:
            share: Which one, in (0, 1]: 0.5 is the median.

        Returns:
            A number in the same bucket as the quantile itself; None when nothing was observed.

        Raises:
            ValueError: If *share* is outside (0, 1].

        Source:
            The method of Prometheus' histogram_quantile().
        """
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share={share!r} is not in (0, 1]")
        total = sum(self._counts)
        if total == 0:
            return None
        rank = share * total
        below = 0
        lowest = 0.0
        for bound, count in zip(self._bounds, self._counts, strict=False):
            if count and below + count >= rank:
                lowest, highest = max(lowest, self._smallest), min(bound, self._largest)
                return lowest + (highest - lowest) * (rank - below) / count
            below += count
            lowest = bound
        return self._largest

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Return Prometheus' cumulative (bound, count) pairs, and the sum of all values."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum
