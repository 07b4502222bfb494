"""Shared: the metrics of a child worker, whose counts its parent reads while they change (ADR 0051).

Numbers stay plain. Counts are copied into their cells once a chunk, since a cell costs three times as much;
the rest follows at :meth:`SharedMetrics.share`.
"""

import asyncio
from array import array
from collections.abc import Sequence
from typing import Any, Final

from nsqkit.telemetry.metrics.cells import CellWriter, Group
from nsqkit.telemetry.metrics.families import FAMILIES
from nsqkit.telemetry.metrics.handler import HandlerMetrics
from nsqkit.telemetry.metrics.registry import Metrics

_RECEIVED: Final = "nsqkit_messages_received_total"
_PROCESSED: Final = "nsqkit_messages_processed_total"


class SharedHandlerMetrics(HandlerMetrics):
    """The counts of one handler, which survive the process."""

    __slots__ = ("_columns", "_is_due", "_received_at", "_success_at", "_writer")

    def __init__(self, *labels: str, **given: Any) -> None:
        super().__init__(*labels, **given)
        self._writer: CellWriter | None = None
        self._columns: Sequence[tuple[int, dict[str, int]]] = ()
        self._is_due = False
        self._received_at = self._success_at = 0

    def attach(self, writer: CellWriter) -> None:
        """Copy counts by this writer from now on; it has written all of them before."""
        places = {
            name: writer.place(name, self._series[name][0])
            for name in self._numbers
            if FAMILIES[name].kind == "counter"
        }
        found = {name: place for name, place in places.items() if place is not None}
        if len(found) < len(places):
            return
        self._columns = [(place, self._numbers[name]) for name, place in found.items()]
        self._received_at = found[_RECEIVED]
        self._success_at = found[_PROCESSED] + list(self._processed).index("success")
        self._writer = writer

    def received(self, count: int) -> None:
        """Count deliveries that arrived."""
        super().received(count)
        if self._writer is not None:
            self._writer.cells[self._received_at] = self._received[""]

    def succeeded(self, ages_s: Sequence[float], durations_s: Sequence[float]) -> None:
        """Count deliveries that were handled and finished at once."""
        super().succeeded(ages_s, durations_s)
        if self._writer is not None:
            self._writer.cells[self._success_at] = self._processed["success"]

    def processed(self, outcome: str) -> None:
        """Count a delivery that ended, and copy all counts at the end of this turn of the event loop."""
        self._processed[outcome] += 1
        if not self._is_due and self._writer is not None:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._copy, self._writer)

    def _copy(self, writer: CellWriter) -> None:
        self._is_due = False
        for place, numbers in self._columns:
            writer.cells[place : place + len(numbers)] = array("q", numbers.values())


class SharedMetrics(Metrics):
    """The counts of a child worker.

    Args:
        descriptor: File descriptor of the memory that the parent reads.
    """

    handler_type = SharedHandlerMetrics

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._writer = CellWriter(descriptor)

    def share(self) -> list[Group]:
        """Copy all numbers, and return where the new ones among them are, for the parent."""
        groups = self._writer.write(self.snapshot())
        if groups:
            for handler in self._handlers.values():
                if isinstance(handler, SharedHandlerMetrics):
                    handler.attach(self._writer)
        return groups
