"""Clock: the time and random numbers that the runtime uses; tests replace them."""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clocks and the random numbers of one worker.

    Args:
        now_s: Monotonic clock of the event loop, seconds; the clock of ``Message.received_s``.
        now_ns: Wall clock, nanoseconds since 1970 UTC.
        draw: Returns a uniform random number in [0, 1).
        skews_ns: How far *now_ns* is ahead of each nsqd's clock, in nanoseconds, by the nsqd's address; None
            while that is not known.
    """

    now_s: Callable[[], float] = time.monotonic
    now_ns: Callable[[], int] = time.time_ns
    draw: Callable[[], float] = random.random
    skews_ns: Mapping[str, int | None] = field(default_factory=lambda: defaultdict(int))

    def now_ns_at(self, address: str) -> int:
        """Return the present time by the clock of an nsqd, or by this one if its skew is not known."""
        return self.now_ns() - (self.skews_ns[address] or 0)
