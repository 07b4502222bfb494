"""What is counted for each handler and for the process, and how Prometheus reads it.

A count is a Python number of its handler's, added to without a lock or a lookup of labels, and copied only
when somebody scrapes: six of them are touched per message, and the client's own cost four times as much.
All methods are therefore for the event loop's thread only. Labels come from the registered handlers, never
from messages.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from nsqkit.policy.verdict import DeadLetterReason, Ending, RequeueReason

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

OUTCOMES: Final = tuple(str(each) for each in Ending)
REQUEUE_REASONS: Final = tuple(str(each) for each in RequeueReason)
DEAD_LETTER_REASONS: Final = tuple(str(each) for each in DeadLetterReason)
COMMANDS: Final = ("FIN", "REQ", "TOUCH")
OTHER_ERROR: Final = "other"

# Seconds, upper bounds, inclusive. Durations are read as quantiles, so their buckets are fine.
DURATION_BUCKETS_S: Final = (
    *(
        0.00001,
        0.00002,
        0.00005,
        0.0001,
        0.0002,
        0.0003,
        0.0005,
        0.00075,
        0.001,
        0.0015,
        0.002,
        0.003,
        0.005,
        0.0075,
    ),
    *(0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75),
    *(1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
AGE_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
WAIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_LABELS = ("topic", "channel", "handler")


class Histogram:
    """Counts of values by bucket.

    Args:
        bounds: Upper bounds of the buckets, inclusive and growing; one more bucket takes all that is above.
    """

    __slots__ = ("_bounds", "_counts", "_largest", "_smallest", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._smallest = math.inf
        self._largest = 0.0

    def observe(self, value: float) -> None:
        """Count one value; one below zero, from a clock that was set back, counts as zero."""
        value = max(value, 0.0)
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self._smallest = min(self._smallest, value)
        self._largest = max(self._largest, value)

    def quantile(self, share: float) -> float | None:
        """Estimate a quantile by a straight line inside the bucket that holds it.

        The line ends at the smallest and the largest value that were seen.

        Args:
            share: Which one, in (0, 1]: 0.5 is the median.

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


class HandlerMetrics:
    """One handler's counts. Made by :meth:`Metrics.for_handler`.

    Every value that a closed label can have exists from the start, at zero; another one raises KeyError.
    """

    __slots__ = (
        "_ages",
        "_clamped",
        "_dead_lettered",
        "_durations",
        "_errors",
        "_executor_waits",
        "_in_flight",
        "_max_in_flight",
        "_processed",
        "_received",
        "_requeued",
        "_settle_failures",
        "labels",
    )

    def __init__(
        self, topic: str, channel: str, handler: str, *, max_in_flight: int, declared: frozenset[str]
    ) -> None:
        self.labels = (topic, channel, handler)
        self._max_in_flight = max_in_flight
        self._received = self._in_flight = self._clamped = 0
        self._processed = dict.fromkeys(OUTCOMES, 0)
        self._requeued = dict.fromkeys(REQUEUE_REASONS, 0)
        self._dead_lettered = dict.fromkeys(DEAD_LETTER_REASONS, 0)
        self._settle_failures = dict.fromkeys(COMMANDS, 0)
        self._errors = dict.fromkeys((*sorted(declared), OTHER_ERROR), 0)
        self._durations = Histogram(DURATION_BUCKETS_S)
        self._ages = Histogram(AGE_BUCKETS_S)
        self._executor_waits = Histogram(WAIT_BUCKETS_S)

    def received(self) -> None:
        """Count a delivery that arrived."""
        self._received += 1

    def processed(self, outcome: str) -> None:
        """Count a delivery that ended, by one of :data:`OUTCOMES`."""
        self._processed[outcome] += 1

    def requeued(self, reason: str) -> None:
        """Count a requeue, by one of :data:`REQUEUE_REASONS`."""
        self._requeued[reason] += 1

    def dead_lettered(self, reason: str) -> None:
        """Count a confirmed dead letter, by one of :data:`DEAD_LETTER_REASONS`."""
        self._dead_lettered[reason] += 1

    def error(self, error_type: str) -> None:
        """Count what a handler raised; a type that it does not declare is counted as ``other``."""
        self._errors[error_type if error_type in self._errors else OTHER_ERROR] += 1

    def duration(self, seconds: float) -> None:
        """Observe how long the handler ran."""
        self._durations.observe(seconds)

    def age(self, seconds: float) -> None:
        """Observe the time from publish to receipt."""
        self._ages.observe(seconds)

    def in_flight(self, n_delta: int) -> None:
        """Add to the number of deliveries that are held."""
        self._in_flight += n_delta

    def max_in_flight(self, n: int) -> None:
        """Set how many deliveries may be held."""
        self._max_in_flight = n

    def settle_failure(self, command: str) -> None:
        """Count an E_…_FAILED answer, by one of :data:`COMMANDS`."""
        self._settle_failures[command] += 1

    def executor_wait(self, seconds: float) -> None:
        """Observe how long a plain handler waited for a thread."""
        self._executor_waits.observe(seconds)

    def delay_clamped(self) -> None:
        """Count a requeue delay that was cut to the longest allowed one."""
        self._clamped += 1

    def counters(self) -> tuple[Mapping[str, int], ...]:
        """Return the counts of each counter family, by the value of its own label if it has one."""
        return (
            {"": self._received},
            {"": self._clamped},
            self._processed,
            self._requeued,
            self._dead_lettered,
            self._errors,
            self._settle_failures,
        )

    def gauges(self) -> tuple[int, ...]:
        """Return the present value of each gauge family."""
        return self._in_flight, self._max_in_flight

    def histograms(self) -> tuple[Histogram, ...]:
        """Return the values of each histogram family."""
        return self._durations, self._ages, self._executor_waits

    def summary(self) -> "HandlerSummary":
        """Return the counts so far as one row of a table."""
        failed = self._requeued["error"] + self._requeued["timeout"]
        topic, channel, handler = self.labels
        return HandlerSummary(
            handler=handler,
            topic=topic,
            channel=channel,
            received=self._received,
            success=self._processed["success"],
            requeued=self._processed["requeue"],
            requeue_rate_ratio=failed / self._received if self._received else 0.0,
            dead_lettered=self._processed["dead_letter"],
            p50_s=self._durations.quantile(0.50),
            p95_s=self._durations.quantile(0.95),
            p99_s=self._durations.quantile(0.99),
            given_back=self._processed["requeue"] - failed,
            discarded=self._processed["discard"],
            lease_lost=self._processed["lease_lost"],
        )


@dataclass(frozen=True, slots=True)
class HandlerSummary:
    """What one handler did since the process started.

    ``requeued`` counts all requeues, ``given_back`` those without an error or a timeout;
    ``requeue_rate_ratio`` is the others over received, in [0, 1]; the durations are estimates in seconds,
    None while nothing ran.
    """

    handler: str
    topic: str
    channel: str
    received: int
    success: int
    requeued: int
    requeue_rate_ratio: float
    dead_lettered: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    given_back: int = 0
    discarded: int = 0
    lease_lost: int = 0


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
        for index, family in enumerate(_HISTOGRAMS):
            histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
            for handler in self._handlers.values():
                histogram.add_metric(handler.labels, *handler.histograms()[index].buckets())
            yield histogram
        lag = HistogramMetricFamily(_LOOP_LAG.name, _LOOP_LAG.help)
        lag.add_metric((), *self._loop_lag.buckets())
        yield lag


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
)
_HISTOGRAMS = (
    _Family("nsqkit_handler_duration_seconds", "Time that the handler ran."),
    _Family("nsqkit_message_age_seconds", "Time from publish to receipt."),
    _Family("nsqkit_executor_wait_seconds", "Time that a plain handler waited for a thread."),
)
_LOOP_LAG = _Family(
    "nsqkit_event_loop_lag_seconds", "How much later than asked the event loop ran a timer.", ()
)
