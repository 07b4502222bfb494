"""Wall clock: the time that rows of a database are written with. The test harness provides its own."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from nsqkit.handler.resources import resource


@dataclass(frozen=True, slots=True)
class WallClock:
    """The time of day.

    Args:
        now_s: Returns the present time, seconds since 1970 UTC.
        is_virtual: Whether a test decides how time passes, so that no other clock agrees with it.
    """

    now_s: Callable[[], float]
    is_virtual: bool = False


MACHINE: Final = WallClock(time.time)
"""The clock of this machine."""


@resource
def clock() -> Iterator[WallClock]:
    """Yield the clock of this machine."""
    yield MACHINE
