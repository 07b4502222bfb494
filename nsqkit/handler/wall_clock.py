"""Wall clock: the time that rows of a database are written with. The test harness provides its own."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nsqkit.handler.resources import resource


@dataclass(frozen=True, slots=True)
class WallClock:
    """The time of day.

    Args:
        now_s: Returns the present time, seconds since 1970 UTC.
    """

    now_s: Callable[[], float]


@resource
def clock() -> Iterator[WallClock]:
    """Yield the clock of this machine."""
    yield WallClock(time.time)
