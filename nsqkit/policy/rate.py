"""Rate limits: how many messages of a handler may start per second."""

import math
from dataclasses import dataclass

from nsqkit.policy.argument import require_number, require_whole

MAX_PER_S = 1_000_000.0
MAX_BURST = 1_000_000
_ROUNDING_S = 1e-6
"""A timer that rings on time may be off by the last digit: so little too early is not early."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """How many messages of a handler one worker starts per second.

    Args:
        per_s: Messages per second on average; above 0, at most 1000000.
        burst: How many may start at once after a quiet time; 1 to 1000000.

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
    """Tokens that come at a steady rate, up to a burst; full at first.

    All it keeps is the moment at which the bucket would have been empty, had nothing been taken since.

    Args:
        limit: The rate and the burst.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._interval_s = 1 / limit.per_s
        self._full_s = limit.burst / limit.per_s
        self._empty_s = -math.inf

    def take(self, now_s: float) -> float:
        """Take a token, or say when there will be one.

        Args:
            now_s: Now, on a monotonic clock.

        Returns:
            0.0 if a token was taken; else seconds above 0 until there is one.
        """
        emptied_s = max(self._empty_s, now_s - self._full_s) + self._interval_s
        wait_s = emptied_s - now_s
        if wait_s > _ROUNDING_S:
            return wait_s
        self._empty_s = emptied_s
        return 0.0
