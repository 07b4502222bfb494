"""Registry: all counts of one process, as Prometheus reads them.

Labels come from the registered handlers and breakers and the nsqd, never from messages.
"""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from nsqkit.handler.breaker import breaker_states
from nsqkit.policy.breaker import BreakerState
from nsqkit.telemetry.line_writer import lines_dropped
from nsqkit.telemetry.metrics.families import FAMILIES
from nsqkit.telemetry.metrics.handler import HandlerMetrics, HandlerSummary
from nsqkit.telemetry.metrics.histogram import Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_LOOP_LAG: Final = "nsqkit_event_loop_lag_seconds"
_LOOP_BLOCKS: Final = "nsqkit_event_loop_blocks_total"
_LINES_DROPPED: Final = "nsqkit_log_lines_dropped_total"
_CLOCK_SKEW: Final = "nsqkit_clock_skew_seconds"
_KINDS: Final = MappingProxyType(
    {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
)


class Metrics:
    """The counts of one process, or of one test: each has its own registry.

    Args:
        registry: The Prometheus registry to register with; a new one by default.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._handlers: dict[tuple[str, str, str], HandlerMetrics] = {}
        self._clock_skews_s: dict[str, float] = {}
        self._loop_blocks = 0
        self._loop_lag = Histogram(FAMILIES[_LOOP_LAG].buckets)
        self.registry.register(self)
        ProcessCollector(namespace="nsqkit", registry=self.registry)

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
            self._handlers[key] = HandlerMetrics(*key, max_in_flight=max_in_flight, declared=declared)
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
            nsqd: ``host:port`` of nsqd's HTTP port.
            skew_s: Seconds; None if the nsqd is gone.
        """
        if skew_s is None:
            self._clock_skews_s.pop(nsqd, None)
        else:
            self._clock_skews_s[nsqd] = skew_s

    def summary(self) -> tuple[HandlerSummary, ...]:
        """Return one row per handler, in the order in which they were registered."""
        return tuple(handler.summary() for handler in self._handlers.values())

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format, see :data:`CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the present values; called by the registry."""
        for family in FAMILIES.values():
            metric = _KINDS[family.kind](family.name, family.help, labels=family.labels)
            if family.per_handler:
                self._add_handlers(metric, family.name)
            else:
                self._add_process(metric, family.name)
            yield metric

    def _add_handlers(self, metric: Any, name: str) -> None:
        for handler in self._handlers.values():
            for value, number in handler.numbers().get(name, {}).items():
                metric.add_metric((*handler.labels, value), number)
            if (histogram := handler.histograms().get(name)) is not None:
                metric.add_metric(handler.labels, *histogram.buckets())

    def _add_process(self, metric: Any, name: str) -> None:
        if name == _LOOP_LAG:
            metric.add_metric((), *self._loop_lag.buckets())
            return
        if name == _LOOP_BLOCKS:
            metric.add_metric((), self._loop_blocks)
            return
        if name == _LINES_DROPPED:
            metric.add_metric((), lines_dropped())
            return
        if name == _CLOCK_SKEW:
            for nsqd, skew_s in self._clock_skews_s.items():
                metric.add_metric((nsqd,), skew_s)
            return
        for dependency, present in breaker_states().items():
            for state in BreakerState:
                metric.add_metric((dependency, state), state is present)
