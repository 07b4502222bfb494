"""Registry: all counts of one process, as Prometheus reads them.

Labels come from the registered handlers, events and breakers and the nsqd, never from messages.
"""

from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from nsqkit.handler.breaker import breaker_states
from nsqkit.handler.publish_counts import published
from nsqkit.policy.breaker import BreakerState
from nsqkit.telemetry.line_writer import lines_dropped
from nsqkit.telemetry.metrics.counts import HandlerCounts, Vitals
from nsqkit.telemetry.metrics.exposition import Exposition, Format, prometheus_buckets
from nsqkit.telemetry.metrics.families import FAMILIES
from nsqkit.telemetry.metrics.handler import Columns, HandlerMetrics
from nsqkit.telemetry.metrics.histogram import Histogram
from nsqkit.telemetry.metrics.process import process_figures
from nsqkit.telemetry.metrics.snapshot import HistogramSnapshot, Labels, Series, Snapshot
from nsqkit.telemetry.metrics.summary import HandlerSummary, summaries

Figure = tuple[str, Labels, Any]
"""A family, the values of its labels, and the number of the series."""

_FIGURES_PER_PART: Final = 500
_LOOP_LAG: Final = "nsqkit_event_loop_lag_seconds"
_VITALS: Final = ("cpu_seconds_total", "resident_memory_bytes")
_KINDS: Final = MappingProxyType(
    {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
)


class Metrics:
    """The counts of one process, or of one test: each has its own registry.

    Args:
        registry: The Prometheus registry to register with; a new one by default.
    """

    handler_type: type[HandlerMetrics] = HandlerMetrics

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._handlers: dict[tuple[str, str, str], HandlerMetrics] = {}
        self._clock_skews_s: dict[str, float] = {}
        self._loop_blocks = 0
        self._loop_lag = Histogram(FAMILIES[_LOOP_LAG].buckets)
        self._sources: list[Callable[[], Iterable[Figure]]] = [self._own, process_figures]
        self._exposition = Exposition()
        self.registry.register(self)

    def for_handler(
        self,
        topic: str,
        channel: str,
        handler: str,
        *,
        max_in_flight: int = 0,
        declared: frozenset[str] = frozenset(),
    ) -> HandlerMetrics:
        """Return the counts of one handler, the same ones each time.

        Args:
            topic: The handler's source topic.
            channel: The handler's channel.
            handler: The handler's name.
            max_in_flight: Deliveries that it may have in flight.
            declared: Names of the exception types that are counted by name.
        """
        key = (topic, channel, handler)
        if key not in self._handlers:
            self._handlers[key] = self.handler_type(*key, max_in_flight=max_in_flight, declared=declared)
        return self._handlers[key]

    def event_loop_lag(self, seconds: float) -> None:
        """Observe how much later than due the event loop ran a timer."""
        self._loop_lag.observe(seconds)

    def event_loop_blocked(self) -> None:
        """Count a block of the event loop; called by the one thread that watches it."""
        self._loop_blocks += 1

    def clock_skew(self, nsqd: str, skew_s: float | None) -> None:
        """Set how far this machine's clock is ahead of an nsqd's.

        Args:
            nsqd: ``host:port`` of nsqd's TCP port.
            skew_s: Seconds; None if the nsqd is gone.
        """
        if skew_s is None:
            self._clock_skews_s.pop(nsqd, None)
        else:
            self._clock_skews_s[nsqd] = skew_s

    def add_source(self, source: Callable[[], Iterable[Figure]]) -> None:
        """Read figures that another part of the process knows, such as a pool of connections, at each scrape.

        Args:
            source: Returns family, label values and number of each series; it must not block. A family is one
                of :data:`FAMILIES`. Other work may run between two figures.
        """
        self._sources.append(source)

    def snapshot(self) -> Snapshot:
        """Return all present numbers."""
        columns = self._counted()
        for figure in self._figures():
            _add(columns, figure)
        return _snapshot(columns)

    def summary(self) -> tuple[HandlerSummary, ...]:
        """Return one row per handler, in the order in which they were registered."""
        return summaries(_snapshot(self._counted()))

    def figures(self) -> Iterator[Figure]:
        """Yield all present numbers that handlers do not count themselves, such as those of nsqd."""
        yield from self._figures()

    def counts(self) -> tuple[HandlerCounts, ...]:
        """Return the counts of each handler that are read every second; much cheaper than a snapshot."""
        return tuple(handler.counts() for handler in self._handlers.values())

    def durations(self, labels: Labels) -> HistogramSnapshot | None:
        """Return how long one handler ran so far; None if it is not known.

        Args:
            labels: Its topic, channel and name.
        """
        topic, channel, name = labels
        handler = self._handlers.get((topic, channel, name))
        return None if handler is None else handler.durations()

    def vitals(self) -> tuple[Vitals, ...]:
        """Return the figures of each process that are read every second."""
        figures = {name: value for name, _, value in process_figures()}
        cpu_s, memory_bytes = (figures.get(f"nsqkit_process_{name}", 0.0) for name in _VITALS)
        states = breaker_states()
        open_breakers = tuple(name for name in sorted(states) if states[name] is not BreakerState.CLOSED)
        return (Vitals(0, cpu_s, memory_bytes, self._loop_lag.counts(), open_breakers),)

    def exposition(self, form: Format = Format.TEXT) -> Iterator[bytes]:
        """Yield the present numbers as Prometheus reads them, in parts, so that other work may run between.

        The counts of all handlers are of one moment. A part may be empty: there is none to send yet.
        """
        columns = self._counted()
        for number, figure in enumerate(self._figures()):
            if not number % _FIGURES_PER_PART:
                yield b""
            _add(columns, figure)
        yield from self._exposition.parts(_snapshot(columns), form)

    def collect(self) -> Iterator[Metric]:
        """Yield the present values for the registry; :meth:`exposition` is many times faster."""
        for name, series in self.snapshot().families.items():
            family = FAMILIES[name]
            metric: Any = _KINDS[family.kind](name, family.help, labels=family.labels)
            for labels, point in zip(*series, strict=True):
                metric.add_metric(labels, *(prometheus_buckets(point) if family.buckets else (point,)))
            yield metric

    def _counted(self) -> Columns:
        columns: Columns = {name: ([], []) for name in FAMILIES}
        for handler in self._handlers.values():
            handler.put_into(columns)
        return columns

    def _figures(self) -> Iterator[Figure]:
        for source in self._sources:
            yield from source()

    def _own(self) -> Iterator[Figure]:
        yield _LOOP_LAG, (), self._loop_lag.snapshot()
        yield "nsqkit_event_loop_blocks_total", (), self._loop_blocks
        yield "nsqkit_log_lines_dropped_total", (), lines_dropped()
        for topic_and_outcome, count in published().items():
            yield "nsqkit_published_total", topic_and_outcome, count
        for nsqd, skew_s in tuple(self._clock_skews_s.items()):  # more may come between two figures
            yield "nsqkit_clock_skew_seconds", (nsqd,), skew_s
        for dependency, present in breaker_states().items():
            for state in BreakerState:
                yield "nsqkit_breaker_state", (dependency, state), int(state is present)


def _add(columns: Columns, figure: Figure) -> None:
    family, labels, number = figure
    columns[family][0].append(labels)
    columns[family][1].append(number)


def _snapshot(columns: Columns) -> Snapshot:
    return Snapshot({name: Series(*map(tuple, both)) for name, both in columns.items()})
