"""Clock: where the runtime takes its time and its chance from, so that a test can give its own."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clocks and the draw of one worker.

    Args:
        now_s: The event loop's monotonic clock, by which messages say when they arrived; seconds.
        now_ns: The wall clock, nanoseconds since 1970 UTC.
        draw: Returns a uniform number in [0, 1).
    """

    now_s: Callable[[], float] = time.monotonic
    now_ns: Callable[[], int] = time.time_ns
    draw: Callable[[], float] = random.random
