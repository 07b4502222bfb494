"""Fleet metrics: the counts of all child workers added up, those that have ended included."""

from collections.abc import Iterator
from typing import Final

from nsqkit.telemetry.metrics import (
    FAMILIES,
    Exposition,
    Figure,
    Format,
    HandlerCounts,
    HandlerSummary,
    HistogramSnapshot,
    Labels,
    Metrics,
    Snapshot,
    Vitals,
    summaries,
)
from nsqkit.telemetry.metrics.cells import CellReader
from nsqkit.telemetry.metrics.counts import COUNT_FAMILIES, VITAL_FAMILIES, counts_of, total_of, vitals_of

_DURATIONS: Final = "nsqkit_handler_duration_seconds"
_FIGURES: Final = frozenset(name for name, family in FAMILIES.items() if "nsqd" in family.labels)


class FleetMetrics(Metrics):
    """The metrics of a parent: those of its children, and what it does itself, such as publishing feeds."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: list[CellReader] = []
        self._ended = Snapshot({})
        self._ended_counts: tuple[HandlerCounts, ...] = ()
        self._texts = Exposition()

    def add_child(self) -> CellReader:
        """Return the memory for the counts of a new child; they are included from now on."""
        self._readers.append(reader := CellReader())
        return reader

    def event_loop_lag(self, seconds: float) -> None:
        """Ignore the parent's event loop: it handles no message."""

    def children(self) -> Iterator[Snapshot]:
        """Yield the counts of the children that have ended, then those of each that runs."""
        self._drop_ended()
        yield self._ended
        for reader in tuple(self._readers):
            yield reader.snapshot()

    def counts(self) -> tuple[HandlerCounts, ...]:
        """Return the counts of each handler that are read every second, over all children."""
        self._drop_ended()
        present = (counts_of(reader.snapshot(COUNT_FAMILIES)) for reader in self._readers)
        return total_of(self._ended_counts, *present)

    def durations(self, labels: Labels) -> HistogramSnapshot | None:
        """Return how long one handler ran so far, over all children; None if it is not known."""
        self._drop_ended()
        family = frozenset({_DURATIONS})
        parts = (self._ended, *(reader.snapshot(family) for reader in self._readers))
        found = [part.of(_DURATIONS)[labels] for part in parts if labels in part.of(_DURATIONS)]
        return sum(found[1:], found[0]) if found else None

    def vitals(self) -> tuple[Vitals, ...]:
        """Return the figures of each child that runs."""
        self._drop_ended()
        found = (vitals_of(reader.snapshot(VITAL_FAMILIES), reader) for reader in self._readers)
        return tuple(each for each in found if each is not None)

    def figures(self) -> Iterator[Figure]:
        """Yield the present numbers of all nsqd, over all children."""
        self._drop_ended()
        total = sum((reader.snapshot(_FIGURES) for reader in self._readers), Snapshot({}))
        for name in total.families:
            for labels, point in total.of(name).items():
                yield name, labels, point

    def summary(self) -> tuple[HandlerSummary, ...]:
        """Return one row for each handler, over all children."""
        return summaries(sum(self.children(), Snapshot({})))

    def exposition(self, form: Format = Format.TEXT) -> Iterator[bytes]:
        """Yield the present numbers as Prometheus reads them, in parts; other work may run between them."""
        total = self.snapshot()
        for snapshot in self.children():
            total += snapshot
            yield b""
        yield from self._texts.parts(total, form)

    def _drop_ended(self) -> None:
        """Keep only the sums of the children that have ended."""
        ended = [reader for reader in self._readers if reader.is_closed]
        self._readers = [reader for reader in self._readers if not reader.is_closed]
        for reader in ended:
            self._ended += reader.snapshot()
            self._ended_counts = total_of(self._ended_counts, counts_of(reader.snapshot()))
