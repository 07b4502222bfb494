"""Snapshot: the numbers of all metrics at one moment, by family and labels. It counts and renders nothing.

One process makes it of its own counts; snapshots of several processes can be added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from operator import add
from typing import Any, NamedTuple

from nsqkit.telemetry.metrics.families import FAMILIES

Labels = tuple[str, ...]
"""The values of a family's labels, in the order of ``Family.labels``."""


class Exemplar(NamedTuple):
    """One observed value of a histogram, with the trace that it belongs to.

    Args:
        trace_id: 32 hexadecimal digits.
        value: The observed value, in the unit of the histogram.
        at_s: When it was observed, seconds since 1970 UTC.
    """

    trace_id: str
    value: float
    at_s: float


@dataclass(frozen=True, slots=True)
class HistogramSnapshot:
    """The counts of a histogram at one moment.

    Args:
        bounds: Upper bounds of the buckets, inclusive, increasing.
        counts: Values in each bucket, not cumulative; one more than the bounds, for all values above.
        sum: Sum of all values.
        smallest: The smallest value; infinite without values.
        largest: The largest value; 0 without values.
        exemplars: At most one for each bucket, by the bucket's index.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float
    smallest: float
    largest: float
    exemplars: Mapping[int, Exemplar] = field(default_factory=dict)

    def __add__(self, other: "HistogramSnapshot") -> "HistogramSnapshot":
        """Return the counts of both; of two exemplars of a bucket the newer one.

        Raises:
            ValueError: If the buckets differ.
        """
        if self.bounds != other.bounds:
            raise ValueError("histograms with different buckets cannot be added")
        exemplars = dict(self.exemplars)
        for bucket, exemplar in other.exemplars.items():
            if bucket not in exemplars or exemplars[bucket].at_s < exemplar.at_s:
                exemplars[bucket] = exemplar
        return HistogramSnapshot(
            self.bounds,
            tuple(map(add, self.counts, other.counts)),
            self.sum + other.sum,
            min(self.smallest, other.smallest),
            max(self.largest, other.largest),
            exemplars,
        )

    @property
    def cumulative(self) -> tuple[int, ...]:
        """The number of values at or below each bound; the last is the number of all values."""
        return tuple(accumulate(self.counts))

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
        total = sum(self.counts)
        if total == 0:
            return None
        rank = share * total
        below = 0
        lowest = 0.0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            if count and below + count >= rank:
                lowest, highest = max(lowest, self.smallest), min(bound, self.largest)
                return lowest + (highest - lowest) * (rank - below) / count
            below += count
            lowest = bound
        return self.largest


Point = float | HistogramSnapshot
"""The number of one series, or all numbers of one histogram."""


class Series(NamedTuple):
    """The series of one family.

    Args:
        labels: The values of the labels of each.
        points: The :data:`Point` of each, in the same order.
    """

    labels: tuple[Labels, ...] = ()
    points: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of all metrics at one moment.

    Args:
        families: The series of each family, by its name.
    """

    families: Mapping[str, Series]

    def __add__(self, other: "Snapshot") -> "Snapshot":
        """Return the numbers of both; series that only one of them has are included.

        Counters and histograms add up; a gauge does as its family's ``merge`` says.
        """
        names = {**self.families, **other.families}
        return Snapshot({name: _merged(name, self, other) for name in names})

    def of(self, family: str) -> dict[Labels, Any]:
        """Return the :data:`Point` of each of a family's series, by its labels; empty if there is none."""
        return dict(zip(*self.families.get(family, Series()), strict=True))


def _merged(name: str, one: Snapshot, other: Snapshot) -> Series:
    merge = max if FAMILIES[name].merge == "max" else add
    merged = one.of(name)
    for labels, point in other.of(name).items():
        merged[labels] = merge(merged[labels], point) if labels in merged else point
    return Series(tuple(merged), tuple(merged.values()))
