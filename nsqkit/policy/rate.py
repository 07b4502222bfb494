"""Rate limits: bound how many messages of a handler start per second."""

import math
from dataclasses import dataclass

from nsqkit.policy.argument import require_number, require_whole

MAX_PER_S = 1_000_000.0
MAX_BURST = 1_000_000
_ROUNDING_S = 1e-6
"""Tolerance for timers, in seconds: one that fires on time may be early by a rounding error."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limit how many messages of a handler one worker starts per second.

    Args:
        per_s: Average messages per second; above 0, at most 1000000.
        burst: Messages that may start at once after an idle time; 1 to 1000000.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is of the wrong type.
    """

    per_s: float
    burst: int = 1

    def __post_init__(self) -> None:
        require_number("RateLimit", "per_s", self.per_s, above=0.0, most=MAX_PER_S)
        require_whole("RateLimit", "burst", self.burst, 1, MAX_BURST)


class TokenBucket:
    """A token bucket: tokens arrive at a steady rate up to the burst size; it starts full.

    Its only state is the time at which the bucket was last empty at that rate.

    Args:
        limit: Refill rate and burst size.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._interval_s = 1 / limit.per_s
        self._full_s = limit.burst / limit.per_s
        self._empty_s = -math.inf

    def take(self, now_s: float) -> float:
        """Take a token, or return the time until the next one.

        Args:
            now_s: Current time of a monotonic clock, in seconds.

        Returns:
            0.0 if a token was taken; otherwise the seconds until the next token, above 0.
        """
        emptied_s = max(self._empty_s, now_s - self._full_s) + self._interval_s
        wait_s = emptied_s - now_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self._empty_s = emptied_s
        return 0.0
