"""Track: what happened to one handler's deliveries, second by second. It keeps no message."""

from typing import Final

from nsqkit.monitor.ring import Ring
from nsqkit.policy.requeue_level import Share
from nsqkit.telemetry.metrics import AGE_BUCKETS_S, WAIT_BUCKETS_S, HandlerCounts

MINUTE_S: Final = 60


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
        waits: The highest bucket of waits for a thread in each second, from 1; 0 without calls.
        paused: 1 in each second in which its intake was paused.
    """

    __slots__ = (
        "ages",
        "counts",
        "dead_lettered",
        "errors",
        "paused",
        "received",
        "requeued",
        "timeouts",
        "waits",
    )

    def __init__(self, counts: HandlerCounts) -> None:
        self.counts = counts
        self.received, self.errors, self.timeouts, self.requeued = Ring(), Ring(), Ring(), Ring()
        self.dead_lettered, self.ages, self.waits, self.paused = Ring(), Ring(), Ring(), Ring()

    def put(self, second: int, counts: HandlerCounts) -> None:
        """Keep what has happened since the second before."""
        old, self.counts = self.counts, counts
        self.received.put(second, counts.received - old.received)
        self.errors.put(second, counts.errors - old.errors)
        self.timeouts.put(second, counts.timeouts - old.timeouts)
        self.requeued.put(second, counts.requeued - old.requeued)
        self.dead_lettered.put(second, counts.dead_lettered - old.dead_lettered)
        self.ages.put(second, highest_bucket(old.ages, counts.ages))
        self.waits.put(second, highest_bucket(old.waits, counts.waits))
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
        steps = zip(
            self.received.steps(second), self.errors.steps(second), self.timeouts.steps(second), strict=True
        )
        return [Share(sum(errors) + sum(timeouts), sum(received)) for received, errors, timeouts in steps]

    def oldest_s(self, second: int, seconds: int) -> float | None:
        """Return an upper bound of the ages of the last seconds' deliveries; None without deliveries.

        Above the highest bucket of :data:`AGE_BUCKETS_S` it is infinite.
        """
        return bound_of(max(self.ages.last(second, seconds)), AGE_BUCKETS_S)

    def longest_wait_s(self, second: int, seconds: int) -> float | None:
        """Return an upper bound of the last seconds' waits for a thread; None without such calls."""
        return bound_of(max(self.waits.last(second, seconds)), WAIT_BUCKETS_S)


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
