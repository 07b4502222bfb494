"""All that is counted in one process, as Prometheus reads it.

Labels come from the registered handlers and breakers, never from messages.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from nsqkit.handler.breaker import breaker_states
from nsqkit.policy.breaker import BreakerState
from nsqkit.policy.kill_switch import SwitchState
from nsqkit.telemetry.metrics.handler import HandlerMetrics, HandlerSummary
from nsqkit.telemetry.metrics.histogram import WAIT_BUCKETS_S, Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("topic", "channel", "handler")


class Metrics:
    """The counts of one process, or of one test: each has its own registry.

    Args:
        registry: Where to appear; a new one by default.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = CollectorRegistry() if registry is None else registry
        self._handlers: dict[tuple[str, str, str], HandlerMetrics] = {}
        self._loop_lag = Histogram(WAIT_BUCKETS_S)
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
            topic: Its source topic.
            channel: Its channel.
            handler: Its name.
            max_in_flight: How many deliveries it may hold.
            declared: Names of the exception types that are counted by name.
        """
        key = (topic, channel, handler)
        if key not in self._handlers:
            self._handlers[key] = HandlerMetrics(*key, max_in_flight=max_in_flight, declared=declared)
        return self._handlers[key]

    def event_loop_lag(self, seconds: float) -> None:
        """Observe how much later than asked the event loop ran a timer."""
        self._loop_lag.observe(seconds)

    def summary(self) -> tuple[HandlerSummary, ...]:
        """Return one row per handler, in the order in which they were registered."""
        return tuple(handler.summary() for handler in self._handlers.values())

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format, see :data:`CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the present values; called by the registry."""
        for index, family in enumerate(_COUNTERS):
            counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
            for handler in self._handlers.values():
                for value, count in handler.counters()[index].items():
                    counter.add_metric((*handler.labels, value), count)
            yield counter
        for index, family in enumerate(_GAUGES):
            gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
            for handler in self._handlers.values():
                gauge.add_metric(handler.labels, handler.gauges()[index])
            yield gauge
        yield self._kill_switches()
        yield _breakers()
        for index, family in enumerate(_HISTOGRAMS):
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            for handler in self._handlers.values():
                histogram.add_metric(handler.labels, *handler.histograms()[index].buckets())
            yield histogram
        lag = HistogramMetricFamily(_LOOP_LAG.name, _LOOP_LAG.help)
        lag.add_metric((), *self._loop_lag.buckets())
        yield lag

    def _kill_switches(self) -> Metric:
        gauge = GaugeMetricFamily(_KILL_SWITCH.name, _KILL_SWITCH.help, labels=_KILL_SWITCH.labels)
        for handler in self._handlers.values():
            if (present := handler.switch_state()) is not None:
                for state in SwitchState:
                    gauge.add_metric((*handler.labels, state), state is present)
        return gauge


def _breakers() -> Metric:
    gauge = GaugeMetricFamily(_BREAKER.name, _BREAKER.help, labels=_BREAKER.labels)
    for dependency, present in breaker_states().items():
        for state in BreakerState:
            gauge.add_metric((dependency, state), state is present)
    return gauge


class _Family(NamedTuple):
    name: str
    help: str
    labels: tuple[str, ...] = _LABELS


# In the order of HandlerMetrics.counters(), gauges() and histograms().
_COUNTERS = (
    _Family("nsqkit_messages_received", "Deliveries that arrived."),
    _Family("nsqkit_requeue_delays_clamped", "Requeue delays cut to the longest allowed one."),
    _Family("nsqkit_messages_processed", "Deliveries that ended, by outcome.", (*_LABELS, "outcome")),
    _Family("nsqkit_messages_requeued", "Deliveries given back to nsqd, by reason.", (*_LABELS, "reason")),
    _Family("nsqkit_messages_dead_lettered", "Confirmed dead letters, by reason.", (*_LABELS, "reason")),
    _Family("nsqkit_handler_errors", "What handlers raised, by declared type.", (*_LABELS, "error_type")),
    _Family("nsqkit_settle_failures", "FIN, REQ and TOUCH that nsqd refused.", (*_LABELS, "command")),
)
_GAUGES = (
    _Family("nsqkit_in_flight", "Deliveries held now."),
    _Family("nsqkit_max_in_flight", "Deliveries that may be held."),
    _Family("nsqkit_intake_paused", "1 while no messages are taken in, for whatever reason."),
)
_HISTOGRAMS = (
    _Family("nsqkit_handler_duration_seconds", "Time that the handler ran."),
    _Family("nsqkit_message_age_seconds", "Time from publish to receipt."),
    _Family("nsqkit_executor_wait_seconds", "Time that a plain handler waited for a thread."),
)
_KILL_SWITCH = _Family(
    "nsqkit_kill_switch_state", "1 for the present state of a handler's kill switch.", (*_LABELS, "state")
)
_BREAKER = _Family(
    "nsqkit_breaker_state", "1 for the present state of a dependency's breaker.", ("dependency", "state")
)
_LOOP_LAG = _Family(
    "nsqkit_event_loop_lag_seconds", "How much later than asked the event loop ran a timer.", ()
)
