"""The clocks that the embedded broker reads, so that a test can pass its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """Two clocks: one for timeouts and delays, one for timestamps.

    Args:
        monotonic_s: Returns seconds on a clock that never goes back.
        wall_ns: Returns nanoseconds since 1970, for the timestamps of messages.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    wall_ns: Callable[[], int] = time.time_ns
