"""The counts of one handler; how they are shown is the registry's business.

A count is a Python number: adding to it takes no lock and no lookup of labels, and it is copied only when
somebody scrapes. Six counts change per message, and the client's own cost four times as much (ADR 0013).
All methods are therefore for the event loop's thread only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nsqkit.policy.kill_switch import SwitchState
from nsqkit.telemetry.metrics.families import FAMILIES, OTHER_ERROR
from nsqkit.telemetry.metrics.histogram import Histogram


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
        "_settle_failures",
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
        self._durations = self._histograms["nsqkit_handler_duration_seconds"]
        self.duration = self._durations.observe
        self._ages = self._histograms["nsqkit_message_age_seconds"]
        self.age = self._ages.observe
        self.executor_waits = self._histograms["nsqkit_executor_wait_seconds"].observe_all

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
        self._paused[""] = is_paused

    def topic_without_producer(self, is_without: bool) -> None:  # noqa: FBT001 - its one argument
        """Set whether nsqlookupd names no nsqd that has its topic."""
        self._numbers["nsqkit_topic_without_producer"][""] = is_without

    def channel_paused(self, is_paused: bool) -> None:  # noqa: FBT001 - its one argument
        """Set whether its topic or channel is paused in an nsqd."""
        self._numbers["nsqkit_channel_paused"][""] = is_paused

    def stalled(self) -> None:
        """Count that an nsqd has stopped delivering messages that wait for it."""
        self._numbers["nsqkit_stalls_total"][""] += 1

    def kill_switch(self, state: str) -> None:
        """Set the state of its kill switch, one of ``closed``, ``open`` and ``half_open``."""
        present = SwitchState(state)
        self._kill_switch.update({each: each is present for each in SwitchState})

    def settle_failure(self, command: str) -> None:
        """Count an E_…_FAILED answer, by one of :data:`COMMANDS`."""
        self._settle_failures[command] += 1

    def delay_clamped(self) -> None:
        """Count a requeue delay that was cut to the longest allowed one."""
        self._clamped[""] += 1

    def numbers(self) -> Mapping[str, Mapping[str, int]]:
        """Return the counters and gauges by family, and in each by the value of its own label, "" without."""
        self._numbers["nsqkit_in_flight"][""] = self._received[""] - sum(self._processed.values())
        return self._numbers

    def histograms(self) -> Mapping[str, Histogram]:
        """Return the histograms by family."""
        return self._histograms

    def summary(self) -> "HandlerSummary":
        """Return the counts so far as one row of a table."""
        failed = self._requeued["error"] + self._requeued["timeout"]
        received = self._received[""]
        topic, channel, handler = self.labels
        return HandlerSummary(
            handler=handler,
            topic=topic,
            channel=channel,
            received=received,
            success=self._processed["success"],
            requeued=self._processed["requeue"],
            requeue_rate_ratio=failed / received if received else 0.0,
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

    Attributes:
        handler: The handler's name.
        topic: The source topic.
        channel: The channel.
        received: Deliveries that arrived.
        success: Deliveries with this outcome.
        requeued: All requeues.
        requeue_rate_ratio: Requeues after an error or a timeout over received, in [0, 1].
        dead_lettered: Deliveries with this outcome.
        p50_s: Estimated median of the handler's duration in seconds; None while nothing ran.
        p95_s: Its 95th percentile.
        p99_s: Its 99th percentile.
        given_back: Requeues without an error or a timeout.
        discarded: Deliveries with this outcome.
        lease_lost: Deliveries with this outcome.
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
