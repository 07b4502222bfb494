"""Histograms: how many values fell into each bucket, and quantiles estimated from that."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.utils import floatToGoString


class Histogram:
    """Counts of values by bucket.

    Args:
        bounds: Upper bounds of the buckets, inclusive, increasing; one more bucket takes all values above.
    """

    __slots__ = ("_bounds", "_counts", "_largest", "_smallest", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._smallest = math.inf
        self._largest = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a negative one, from a clock that was set back, counts as zero."""
        if value < 0.0:  # noqa: PLR1730 - a call of max() takes three times as long, thrice
            value = 0.0
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        if value < self._smallest:  # noqa: PLR1730
            self._smallest = value
        if value > self._largest:  # noqa: PLR1730
            self._largest = value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count values, one or more: one search per bucket that they fall into, not one per value."""
        ordered = sorted(values)
        if ordered[0] < 0.0:
            ordered = sorted(max(value, 0.0) for value in values)
        counts, bounds = self._counts, self._bounds
        bucket, below, count = bisect_left(bounds, ordered[0]), 0, len(ordered)
        while below < count:
            is_last = bucket == len(bounds) or ordered[-1] <= bounds[bucket]
            upto = count if is_last else bisect_right(ordered, bounds[bucket], below)
            counts[bucket] += upto - below
            below, bucket = upto, bucket + 1
        self._sum += sum(ordered)
        self._smallest = min(self._smallest, ordered[0])
        self._largest = max(self._largest, ordered[-1])

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile by a straight line inside the bucket that holds it.

        The line ends at the smallest and the largest value observed.

        Args:
            share: The share of values at or below it, in (0, 1]: 0.5 is the median.

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
