"""What is counted for one handler.

A count is a Python number, added to without a lock or a lookup of labels, and copied only when somebody
scrapes: six of them are touched per message, and the client's own cost four times as much. All methods are
therefore for the event loop's thread only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nsqkit.policy.kill_switch import SwitchState
from nsqkit.policy.verdict import DeadLetterReason, OutcomeLabel, RequeueReason
from nsqkit.telemetry.metrics.histogram import AGE_BUCKETS_S, DURATION_BUCKETS_S, WAIT_BUCKETS_S, Histogram

OUTCOMES: Final = tuple(str(each) for each in OutcomeLabel)
REQUEUE_REASONS: Final = tuple(str(each) for each in RequeueReason)
DEAD_LETTER_REASONS: Final = tuple(str(each) for each in DeadLetterReason)
COMMANDS: Final = ("FIN", "REQ", "TOUCH")
OTHER_ERROR: Final = "other"


class HandlerMetrics:
    """One handler's counts. Made by :meth:`Metrics.for_handler`.

    Every value that a closed label can have exists from the start, at zero; another one raises KeyError.

    Attributes:
        age: Observes the time from publish to receipt, in seconds.
        duration: Observes how long the handler ran, in seconds.
        executor_wait: Observes how long a plain handler waited for a thread, in seconds.
    """

    __slots__ = (
        "_ages",
        "_clamped",
        "_dead_lettered",
        "_durations",
        "_errors",
        "_executor_waits",
        "_is_paused",
        "_kill_switch",
        "_max_in_flight",
        "_processed",
        "_received",
        "_requeued",
        "_settle_failures",
        "age",
        "duration",
        "executor_wait",
        "labels",
    )

    def __init__(
        self, topic: str, channel: str, handler: str, *, max_in_flight: int, declared: frozenset[str]
    ) -> None:
        self.labels = (topic, channel, handler)
        self._max_in_flight = max_in_flight
        self._received = self._clamped = 0
        self._is_paused = False
        self._kill_switch: SwitchState | None = None
        self._processed = dict.fromkeys(OUTCOMES, 0)
        self._requeued = dict.fromkeys(REQUEUE_REASONS, 0)
        self._dead_lettered = dict.fromkeys(DEAD_LETTER_REASONS, 0)
        self._settle_failures = dict.fromkeys(COMMANDS, 0)
        self._errors = dict.fromkeys((*sorted(declared), OTHER_ERROR), 0)
        self._durations = Histogram(DURATION_BUCKETS_S)
        self._ages = Histogram(AGE_BUCKETS_S)
        self._executor_waits = Histogram(WAIT_BUCKETS_S)
        self.age = self._ages.observe
        self.duration = self._durations.observe
        self.executor_wait = self._executor_waits.observe

    def received(self) -> None:
        """Count a delivery that arrived, and is in flight until :meth:`processed`."""
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

    def max_in_flight(self, n: int) -> None:
        """Set how many deliveries may be held."""
        self._max_in_flight = n

    def paused(self, is_paused: bool) -> None:  # noqa: FBT001 - the one thing it is told
        """Set whether its intake rests, for whatever reason."""
        self._is_paused = is_paused

    def kill_switch(self, state: str) -> None:
        """Set the state of its kill switch, one of ``closed``, ``open`` and ``half_open``."""
        self._kill_switch = SwitchState(state)

    def settle_failure(self, command: str) -> None:
        """Count an E_…_FAILED answer, by one of :data:`COMMANDS`."""
        self._settle_failures[command] += 1

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
        return self._received - sum(self._processed.values()), self._max_in_flight, self._is_paused

    def switch_state(self) -> SwitchState | None:
        """Return the state of its kill switch; None if it has none."""
        return self._kill_switch

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
