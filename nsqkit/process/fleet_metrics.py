"""Fleet metrics: the counts of all child workers added up, those that have ended included."""

from collections.abc import Iterator

from nsqkit.telemetry.metrics import Exposition, Format, HandlerSummary, Metrics, Snapshot, summaries
from nsqkit.telemetry.metrics.cells import CellReader


class FleetMetrics(Metrics):
    """The metrics of a parent: those of its children, and what it does itself, such as publishing feeds."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: list[CellReader] = []
        self._ended = Snapshot({})
        self._texts = Exposition()

    def add_child(self) -> CellReader:
        """Return the memory for the counts of a new child; they are included from now on."""
        self._readers.append(reader := CellReader())
        return reader

    def event_loop_lag(self, seconds: float) -> None:
        """Ignore the parent's event loop: it handles no message."""

    def children(self) -> Iterator[Snapshot]:
        """Yield the counts of the children that have ended, then those of each that runs."""
        ended = [reader for reader in self._readers if reader.is_closed]
        self._readers = [reader for reader in self._readers if not reader.is_closed]
        for reader in ended:
            self._ended += reader.snapshot()
        yield self._ended
        for reader in tuple(self._readers):
            yield reader.snapshot()

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
