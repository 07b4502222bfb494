"""Histograms: how many values fell into each bucket; snapshots estimate quantiles from that."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from nsqkit.telemetry.metrics.snapshot import Exemplar, HistogramSnapshot


class Histogram:
    """Counts of values by bucket.

    Args:
        bounds: Upper bounds of the buckets, inclusive, increasing; one more bucket takes all values above.
    """

    __slots__ = ("_bounds", "_counts", "_exemplars", "_largest", "_smallest", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._smallest = math.inf
        self._largest = 0.0
        self._exemplars: dict[int, Exemplar] = {}

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

    def exemplar(self, exemplar: Exemplar) -> None:
        """Keep an exemplar of a value that is counted elsewhere, instead of its bucket's earlier one."""
        self._exemplars[bisect_left(self._bounds, exemplar.value)] = exemplar

    def counts(self) -> tuple[int, ...]:
        """Return the values in each bucket so far, not cumulative; the last is of all values above."""
        return tuple(self._counts)

    def snapshot(self) -> HistogramSnapshot:
        """Return the present counts."""
        return HistogramSnapshot(
            self._bounds,
            tuple(self._counts),
            self._sum,
            self._smallest,
            self._largest,
            dict(self._exemplars),
        )
