"""Track: what happened to one handler's deliveries, second by second. It keeps no message."""

from typing import Final

from nsqkit.monitor.ring import STEP_S, Ring
from nsqkit.policy.full_intake import Intake
from nsqkit.policy.requeue_level import Share
from nsqkit.telemetry.metrics import AGE_BUCKETS_S, HandlerCounts

MINUTE_S: Final = 60
_BEFORE_STEPS: Final = 60


class Track:
    """The last 15 minutes of one handler.

    Args:
        counts: Its counts at the start.

    Attributes:
        counts: Its counts at the last second.
        received: Deliveries that arrived in each second.
        errors: Requeues after an error in each second.
        timeouts: Requeues after a timeout in each second.
        requeued: All requeues in each second.
        dead_lettered: Dead letters in each second.
        ages: The highest age bucket in each second, from 1; 0 without deliveries.
        wait: The highest bucket of waits for a thread in the last second, from 1; 0 without calls.
        paused: 1 in each second in which its intake was paused.
        intake: Its messages in flight and in nsqd at the last looks; only while somebody looks.
    """

    __slots__ = (
        "ages",
        "counts",
        "dead_lettered",
        "errors",
        "intake",
        "paused",
        "received",
        "requeued",
        "timeouts",
        "wait",
    )

    def __init__(self, counts: HandlerCounts) -> None:
        self.counts = counts
        self.received, self.errors, self.timeouts, self.requeued = Ring(), Ring(), Ring(), Ring()
        self.dead_lettered, self.ages, self.paused = Ring(), Ring(), Ring()
        self.wait = 0
        self.intake = Intake()

    def put(self, second: int, counts: HandlerCounts) -> None:
        """Keep what has happened since the second before."""
        old, self.counts = self.counts, counts
        self.received.put(second, counts.received - old.received)
        self.errors.put(second, counts.errors - old.errors)
        self.timeouts.put(second, counts.timeouts - old.timeouts)
        self.requeued.put(second, counts.requeued - old.requeued)
        self.dead_lettered.put(second, counts.dead_lettered - old.dead_lettered)
        self.ages.put(second, highest_bucket(old.ages, counts.ages))
        self.wait = highest_bucket(old.waits, counts.waits)
        self.paused.put(second, counts.is_paused)

    def skip(self, second: int) -> None:
        """Keep that a second brought nothing, as while the event loop was blocked."""
        self.put(second, self.counts)

    def share(self, second: int, seconds: int) -> Share:
        """Return how many deliveries of the last seconds failed."""
        failed = sum(self.errors.last(second, seconds)) + sum(self.timeouts.last(second, seconds))
        return Share(failed, sum(self.received.last(second, seconds)))

    def shares(self, second: int) -> list[Share]:
        """Return the shares of the 90 steps of 10 seconds."""
        rings = (self.received, self.errors, self.timeouts)
        steps = zip(*(ring.totals(second) for ring in rings), strict=True)
        return [Share(errors + timeouts, received) for received, errors, timeouts in steps]

    def baseline(self, second: int, min_received: int) -> float | None:
        """Return the share of failed deliveries in the 10 minutes before the last 5.

        Args:
            second: The last second.
            min_received: Deliveries below which it is not known; 1 or more.
        """
        received, errors, timeouts = (
            sum(ring.totals(second)[:_BEFORE_STEPS]) for ring in (self.received, self.errors, self.timeouts)
        )
        return Share(errors + timeouts, received).ratio if received >= min_received else None

    def oldest_s(self, second: int, seconds: int) -> float | None:
        """Return an upper bound of the ages of the last seconds' deliveries; None without deliveries.

        Above the highest bucket of :data:`AGE_BUCKETS_S` it is infinite.
        """
        return bound_of(max(self.ages.last(second, seconds)), AGE_BUCKETS_S)

    def is_age_growing(self, second: int) -> bool:
        """Return whether the deliveries of the last 10 seconds are older than those of a minute before."""
        ages = self.ages.last(second, MINUTE_S + STEP_S)
        before = max(ages[:STEP_S])
        return 0 < before < max(ages[-STEP_S:])


def highest_bucket(old: tuple[int, ...], new: tuple[int, ...]) -> int:
    """Return the number of the highest bucket whose count has grown, from 1; 0 if none has."""
    if old == new:
        return 0
    return max(number for number, (before, now) in enumerate(zip(old, new, strict=True), 1) if before != now)


def bound_of(bucket: int, bounds: tuple[float, ...]) -> float | None:
    """Return the upper bound of a bucket, infinite for the one above all bounds; None for bucket 0."""
    if not bucket:
        return None
    return bounds[bucket - 1] if bucket <= len(bounds) else float("inf")
