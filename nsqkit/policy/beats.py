"""Beats: when periodic timers fire, so that all timers of a process share its wake-ups."""

import math


def next_beat_s(now_s: float, every_s: float) -> float:
    """Return the next time after *now_s* that is a multiple of *every_s*.

    Timers whose intervals are multiples of each other then fire in one turn of the event loop.

    Args:
        now_s: Current time of the event loop, in seconds.
        every_s: Interval of the timer in seconds, above 0.
    """
    beat_s = (math.floor(now_s / every_s) + 1) * every_s
    return beat_s if beat_s > now_s else beat_s + every_s  # rounding may have returned now_s
