"""The counts of one handler; how they are shown is the registry's business.

A count is a Python number: adding to it takes no lock and no lookup of labels, and it is copied only when
somebody scrapes. Six counts change per message, and the client's own cost four times as much (ADR 0013).
All methods are therefore for the event loop's thread only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nsqkit.policy.kill_switch import SwitchState
from nsqkit.telemetry.metrics.counts import HandlerCounts
from nsqkit.telemetry.metrics.families import FAMILIES, OTHER_ERROR
from nsqkit.telemetry.metrics.histogram import Histogram
from nsqkit.telemetry.metrics.snapshot import Exemplar, HistogramSnapshot, Labels

Columns = Mapping[str, tuple[list[Labels], list[Any]]]
"""A snapshot in the making: of each family the labels and the points of its series."""


class HandlerMetrics:
    """One handler's counts. Made by :meth:`Metrics.for_handler`.

    Every value that a closed label can have exists from the start, at zero; another one raises KeyError.

    Args:
        topic: The source topic.
        channel: The channel.
        handler: The handler's name.
        max_in_flight: Deliveries that may be in flight.
        declared: Names of the exception types that are counted by name.

    Attributes:
        age: Observes the time from publish to receipt, in seconds.
        duration: Observes how long the handler ran, in seconds.
        executor_waits: Observes how long calls of a plain handler waited for a thread, in seconds.
    """

    __slots__ = (
        "_ages",
        "_clamped",
        "_dead_lettered",
        "_durations",
        "_errors",
        "_histograms",
        "_kill_switch",
        "_lost_slots",
        "_max_in_flight",
        "_numbers",
        "_paused",
        "_processed",
        "_received",
        "_requeued",
        "_series",
        "_settle_failures",
        "_waits",
        "age",
        "duration",
        "executor_waits",
        "labels",
    )

    def __init__(
        self, topic: str, channel: str, handler: str, *, max_in_flight: int, declared: frozenset[str]
    ) -> None:
        self.labels = (topic, channel, handler)
        own = [family for family in FAMILIES.values() if family.per_handler]
        self._numbers = {
            family.name: dict.fromkeys(family.values or ("",), 0) for family in own if not family.buckets
        }
        self._histograms = {family.name: Histogram(family.buckets) for family in own if family.buckets}
        self._received = self._numbers["nsqkit_messages_received_total"]
        self._clamped = self._numbers["nsqkit_requeue_delays_clamped_total"]
        self._processed = self._numbers["nsqkit_messages_processed_total"]
        self._requeued = self._numbers["nsqkit_messages_requeued_total"]
        self._dead_lettered = self._numbers["nsqkit_messages_dead_lettered_total"]
        self._settle_failures = self._numbers["nsqkit_settle_failures_total"]
        self._paused = self._numbers["nsqkit_intake_paused"]
        self._max_in_flight = self._numbers["nsqkit_max_in_flight"]
        self._max_in_flight[""] = max_in_flight
        self._lost_slots = self._numbers["nsqkit_lost_slots"]
        self._errors = dict.fromkeys((*sorted(declared), OTHER_ERROR), 0)
        self._numbers["nsqkit_handler_errors_total"] = self._errors
        self._kill_switch: dict[str, int] = {}  # until it is known to have one
        self._numbers["nsqkit_kill_switch_state"] = self._kill_switch
        self._series = {name: self._labelled(numbers) for name, numbers in self._numbers.items()}
        self._durations = self._histograms["nsqkit_handler_duration_seconds"]
        self.duration = self._durations.observe
        self._ages = self._histograms["nsqkit_message_age_seconds"]
        self.age = self._ages.observe
        self._waits = self._histograms["nsqkit_executor_wait_seconds"]
        self.executor_waits = self._waits.observe_all

    def received(self, count: int) -> None:
        """Count deliveries that arrived, and are in flight until :meth:`processed`."""
        self._received[""] += count

    def succeeded(self, ages_s: Sequence[float], durations_s: Sequence[float]) -> None:
        """Count deliveries that were handled and finished at once.

        This is ``age``, ``duration`` and :meth:`processed` for each of them.

        Args:
            ages_s: The time from publish to receipt of each, in seconds; one or more.
            durations_s: How long the handler ran for each, in seconds.
        """
        if len(ages_s) == 1:
            self.age(ages_s[0])
            self.duration(durations_s[0])
        else:
            self._ages.observe_all(ages_s)
            self._durations.observe_all(durations_s)
        self._processed["success"] += len(ages_s)

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
        """Count an exception that the handler raised; one of a type that it does not declare is ``other``."""
        self._errors[error_type if error_type in self._errors else OTHER_ERROR] += 1

    def max_in_flight(self, n: int) -> None:
        """Set how many deliveries may be in flight."""
        self._max_in_flight[""] = n

    def lost_slots(self, n: int) -> None:
        """Set how many calls run on although the lease of their message is over."""
        self._lost_slots[""] = n

    def paused(self, is_paused: bool) -> None:  # noqa: FBT001 - its one argument
        """Set whether its intake is paused, for whatever reason."""
        self._paused[""] = int(is_paused)

    def topic_without_producer(self, is_without: bool) -> None:  # noqa: FBT001 - its one argument
        """Set whether nsqlookupd names no nsqd that has its topic."""
        self._numbers["nsqkit_topic_without_producer"][""] = int(is_without)

    def stalled(self) -> None:
        """Count that an nsqd has stopped delivering messages that wait for it."""
        self._numbers["nsqkit_stalls_total"][""] += 1

    def kill_switch(self, state: str) -> None:
        """Set the state of its kill switch, one of ``closed``, ``open`` and ``half_open``."""
        present = SwitchState(state)
        self._kill_switch.update({each: int(each is present) for each in SwitchState})
        self._series["nsqkit_kill_switch_state"] = self._labelled(self._kill_switch)

    def settle_failure(self, command: str) -> None:
        """Count an E_…_FAILED answer, by one of :data:`COMMANDS`."""
        self._settle_failures[command] += 1

    def delay_clamped(self) -> None:
        """Count a requeue delay that was cut to the longest allowed one."""
        self._clamped[""] += 1

    def exemplar(self, trace_id: str, duration_s: float, at_s: float) -> None:
        """Keep the trace of a call as the example of its duration's bucket.

        Args:
            trace_id: 32 hexadecimal digits.
            duration_s: How long the handler ran, in seconds; :meth:`duration` counts it.
            at_s: When it ended, seconds since 1970 UTC.
        """
        self._durations.exemplar(Exemplar(trace_id, max(duration_s, 0.0), at_s))

    def counts(self) -> HandlerCounts:
        """Return the counts that are read every second."""
        requeued = self._requeued
        return HandlerCounts(
            self.labels,
            self._received[""],
            requeued["error"],
            requeued["timeout"],
            sum(requeued.values()) - requeued["scheduled"],
            self._processed["dead_letter"],
            self._ages.counts(),
            self._waits.counts(),
            self._paused[""] == 1,
            self._kill_switch.get(SwitchState.CLOSED, 1) == 0,
        )

    def durations(self) -> HistogramSnapshot:
        """Return how long the handler ran so far."""
        return self._durations.snapshot()

    def put_into(self, columns: Columns) -> None:
        """Add all present numbers to a snapshot."""
        self._numbers["nsqkit_in_flight"][""] = self._received[""] - sum(self._processed.values())
        for name, numbers in self._numbers.items():
            labels, points = columns[name]
            labels.extend(self._series[name])
            points.extend(numbers.values())
        for name, histogram in self._histograms.items():
            labels, points = columns[name]
            labels.append(self.labels)
            points.append(histogram.snapshot())

    def _labelled(self, values: Iterable[str]) -> tuple[Labels, ...]:
        return tuple((*self.labels, value) if value else self.labels for value in values)
