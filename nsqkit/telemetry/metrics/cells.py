"""Cells: the numbers of one process in memory that another process reads, also after the first was killed.

The memory is a file without a name, mapped by both. A cell is an ``int64``; seconds and ratios are in units
of 1e-9. One process writes. The reader learns from :class:`Group` which numbers are where.
"""

import math
import mmap
import os
import tempfile
from array import array
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from nsqkit.telemetry.metrics.families import FAMILIES, Family
from nsqkit.telemetry.metrics.snapshot import Exemplar, HistogramSnapshot, Labels, Series, Snapshot

MOST_CELLS: Final = 1 << 22
"""More series are not shared: 32 MiB."""
_CELL_BYTES: Final = 8
_GROWTH_BYTES: Final = 1 << 16
_ABSENT: Final = -(1 << 63)
_LARGEST: Final = (1 << 63) - 1
_NANO: Final = 1e9
_EXEMPLAR_CELLS: Final = 4  # both halves of the trace id, the value, the time in milliseconds
_MORE_CELLS: Final = 3  # of a histogram: sum, smallest, largest


class Group(NamedTuple):
    """Series of one family whose cells are next to each other.

    Args:
        family: Name of the family.
        start: Index of the first cell.
        labels: The values of the labels of each.
    """

    family: str
    start: int
    labels: tuple[Labels, ...]


@dataclass(slots=True)
class _Column:
    """The series of one family, as last written, and the first cell of each."""

    labels: tuple[Labels, ...] = ()
    starts: list[int] = field(default_factory=list)
    known: dict[Labels, int] = field(default_factory=dict)

    @property
    def is_dense(self) -> bool:
        return self.starts == list(range(self.starts[0], self.starts[0] + len(self.starts)))


class CellWriter:
    """Writes the numbers of this process.

    Args:
        descriptor: File descriptor of the memory; from :attr:`CellReader.descriptor`.

    Attributes:
        cells: The memory; another object after each :meth:`write` that returns groups.
    """

    def __init__(self, descriptor: int) -> None:
        self.cells = memoryview(b"").cast("q")
        self._descriptor = descriptor
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - it has no name there
        self._used = 0
        self._columns = {name: _Column() for name in FAMILIES}
        self._exemplars: dict[int, Exemplar] = {}

    def write(self, snapshot: Snapshot) -> list[Group]:
        """Write all numbers, and return where the new ones among them are, for :meth:`CellReader.extend`."""
        groups = [group for name, series in snapshot.families.items() for group in self._placed(name, series)]
        if groups:
            self.cells = _mapped(self._descriptor, self._used)
        for name, series in snapshot.families.items():
            if series.labels:
                self._put(FAMILIES[name], self._columns[name], series.points)
        return groups

    def place(self, family: str, labels: Labels) -> int | None:
        """Return the index of a number's cell; None if it was never written."""
        return self._columns[family].known.get(labels)

    def _placed(self, name: str, series: Series) -> Iterable[Group]:
        """Find the cells of all series of a family; yield those that are new."""
        column = self._columns[name]
        if series.labels == column.labels:
            return
        width = _width(FAMILIES[name])
        new = tuple(labels for labels in series.labels if labels not in column.known)
        new = new[: (MOST_CELLS - self._used) // width]
        for index, labels in enumerate(new):
            column.known[labels] = self._used + index * width
        for labels in set(column.labels) - set(series.labels):
            self.cells[column.known[labels]] = _ABSENT
        column.labels = series.labels
        column.starts = [column.known.get(labels, -1) for labels in series.labels]
        if new:
            yield Group(name, self._used, new)
            self._used += len(new) * width

    def _put(self, family: Family, column: _Column, points: Sequence[Any]) -> None:
        if family.buckets:
            for start, histogram in zip(column.starts, points, strict=True):
                if start >= 0:
                    self._put_histogram(start, histogram)
            return
        numbers = array("q", _whole(family, points))
        if column.is_dense:
            self.cells[column.starts[0] : column.starts[0] + len(numbers)] = numbers
            return
        for start, number in zip(column.starts, numbers, strict=True):
            if start >= 0:
                self.cells[start] = number

    def _put_histogram(self, start: int, histogram: HistogramSnapshot) -> None:
        smallest = _ABSENT if histogram.smallest == math.inf else _nano(histogram.smallest)
        numbers = (*histogram.counts, _nano(histogram.sum), smallest, _nano(histogram.largest))
        self.cells[start : start + len(numbers)] = array("q", numbers)
        for bucket, exemplar in histogram.exemplars.items():
            place = start + len(numbers) + bucket * _EXEMPLAR_CELLS
            if self._exemplars.get(place) is not exemplar:
                self._exemplars[place] = exemplar
                self._put_exemplar(place, exemplar)

    def _put_exemplar(self, place: int, exemplar: Exemplar) -> None:
        """Write the time last, and none meanwhile: so the reader sees a whole exemplar or none."""
        self.cells[place + 3] = 0
        trace = bytes.fromhex(exemplar.trace_id)
        self.cells[place] = int.from_bytes(trace[:8], "big", signed=True)
        self.cells[place + 1] = int.from_bytes(trace[8:], "big", signed=True)
        self.cells[place + 2] = _nano(exemplar.value)
        self.cells[place + 3] = round(exemplar.at_s * 1000)


class CellReader:
    """Reads the numbers of another process; owns the memory.

    Attributes:
        descriptor: The file descriptor that the writing process needs.
    """

    def __init__(self) -> None:
        self.descriptor = _memory()
        self._cells = memoryview(b"").cast("q")
        self._groups: list[Group] = []
        self._last: Snapshot | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the numbers change no more."""
        return self._last is not None

    def extend(self, groups: Iterable[Sequence[Any]]) -> None:
        """Read more series: those of :meth:`CellWriter.write`, perhaps through JSON.

        Families that this process does not know are left out.

        Raises:
            ValueError: If they are not in the memory.
        """
        for name, start, labels in groups:
            if name not in FAMILIES:
                continue
            group = Group(name, int(start), tuple(tuple(map(str, each)) for each in labels))
            end = group.start + len(group.labels) * _width(FAMILIES[name])
            if not 0 <= group.start <= end <= os.fstat(self.descriptor).st_size // _CELL_BYTES:
                raise ValueError(f"cells {group.start} to {end} are not in the memory")
            self._groups.append(group)
        self._cells = _mapped(self.descriptor)

    def snapshot(self, families: Collection[str] = FAMILIES) -> Snapshot:
        """Return the present numbers; after :meth:`close`, the last ones.

        Args:
            families: The names of those to read.
        """
        if self._last is not None:
            return self._last
        columns: dict[str, tuple[list[Labels], list[Any]]] = {}
        for group in self._groups:
            if group.family not in families:
                continue
            labels, points = columns.setdefault(group.family, ([], []))
            for each, point in zip(group.labels, self._points(group), strict=True):
                if point is not None:
                    labels.append(each)
                    points.append(point)
        return Snapshot({name: Series(*map(tuple, both)) for name, both in columns.items()})

    def close(self) -> None:
        """Keep the counts of a process that has ended: its gauges are 0. May be called twice."""
        if self._last is None:
            self._last = _ended(self.snapshot())
            self._cells = memoryview(b"").cast("q")
            os.close(self.descriptor)

    def _points(self, group: Group) -> Iterable[Any]:
        family = FAMILIES[group.family]
        width = _width(family)
        numbers = self._cells[group.start : group.start + len(group.labels) * width].tolist()
        if family.buckets:
            starts = range(0, len(numbers), width)
            return [_histogram(family, numbers[start : start + width]) for start in starts]
        is_nano = _is_nano(family)
        return [None if each == _ABSENT else each / _NANO if is_nano else each for each in numbers]


def _histogram(family: Family, numbers: Sequence[int]) -> HistogramSnapshot | None:
    count = len(family.buckets) + 1
    total, smallest, largest = numbers[count : count + _MORE_CELLS]
    if numbers[0] == _ABSENT:
        return None
    return HistogramSnapshot(
        family.buckets,
        tuple(numbers[:count]),
        total / _NANO,
        math.inf if smallest == _ABSENT else smallest / _NANO,
        largest / _NANO,
        _exemplars(numbers[count + _MORE_CELLS :]),
    )


def _exemplars(numbers: Sequence[int]) -> Mapping[int, Exemplar]:
    found = {}
    for bucket in range(len(numbers) // _EXEMPLAR_CELLS):
        high, low, value, at_ms = numbers[bucket * _EXEMPLAR_CELLS : (bucket + 1) * _EXEMPLAR_CELLS]
        if at_ms:
            halves = (half.to_bytes(8, "big", signed=True).hex() for half in (high, low))
            found[bucket] = Exemplar("".join(halves), value / _NANO, at_ms / 1000)
    return found


def _ended(snapshot: Snapshot) -> Snapshot:
    """Return the numbers of a process that has ended: gauges of handlers are 0, and others are unknown."""
    families = {}
    for name, series in snapshot.families.items():
        if FAMILIES[name].kind != "gauge":
            families[name] = series
        elif FAMILIES[name].per_handler:
            families[name] = Series(series.labels, (0,) * len(series.labels))
    return Snapshot(families)


def _memory() -> int:
    """Return the descriptor of a file without a name."""
    if hasattr(os, "memfd_create"):  # a full disk would end the process that writes, by SIGBUS
        return os.memfd_create("nsqkit-counts")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _mapped(descriptor: int, cells: int = 0) -> memoryview:
    """Map the memory, with room for so many cells and some more."""
    size = os.fstat(descriptor).st_size
    if cells * _CELL_BYTES > size:
        size = (cells * _CELL_BYTES // _GROWTH_BYTES + 1) * _GROWTH_BYTES
        os.ftruncate(descriptor, size)
    return memoryview(mmap.mmap(descriptor, size)).cast("q") if size else memoryview(b"").cast("q")


def _width(family: Family) -> int:
    buckets = len(family.buckets) + 1
    return buckets * (1 + _EXEMPLAR_CELLS) + _MORE_CELLS if family.buckets else 1


def _is_nano(family: Family) -> bool:
    return "_seconds" in family.name or family.name.endswith("_ratio")


def _whole(family: Family, points: Iterable[float]) -> Iterable[int]:
    return map(_nano, points) if _is_nano(family) else (int(min(point, _LARGEST)) for point in points)


def _nano(number: float) -> int:
    return int(min(number * _NANO, _LARGEST))
