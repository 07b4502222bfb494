"""Words: figures as short texts, as on the monitor page. Nothing to say is "–", never 0 or NaN."""

import math
import time
from collections.abc import Sequence
from typing import Any, Final

NOTHING: Final = "–"
PAUSED: Final = "‖"
_BARS: Final = "▁▂▃▄▅▆▇█"
_LEAST_TOP: Final = 0.1
_MINUTE_S: Final = 60
_UNITS: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def percent(ratio: float | None) -> str:
    """Return a ratio in [0, 1] in percent, with a digit after the point below 10 %; "–" for None."""
    if ratio is None:
        return NOTHING
    return f"{ratio:.0%}" if ratio >= 0.0995 or not ratio else f"{ratio:.1%}"  # noqa: PLR2004 - digits


def count(number: float | None) -> str:
    """Return a number with separators; "–" for None."""
    return NOTHING if number is None else f"{number:,.0f}"


def rate(per_s: float) -> str:
    """Return a rate per second, with a digit after the point below 10."""
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.1f}"  # noqa: PLR2004 - digits


def duration(seconds: float) -> str:
    """Return a duration in its largest unit of which there are two, such as ``90 s`` or ``3 min``."""
    for unit_s, unit in _UNITS[:-1]:
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    if seconds >= 1:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - digits
    return f"{max(1.0, 1000 * seconds):.0f} ms"


def age(seconds: float | None) -> str:
    """Return an upper bound of an age, such as ``≤5m``; "–" for None, and -1 is an age above all buckets."""
    if seconds is None:
        return NOTHING
    return ">1d" if seconds < 0 else f"≤{duration(seconds)}".replace("min", "m").replace(" ", "")


def clock(at_s: float) -> str:
    """Return a time of day in UTC, seconds since 1970 given."""
    return time.strftime("%H:%M:%S", time.gmtime(at_s))


def scale(series: Sequence[Sequence[float | None]]) -> float:
    """Return the highest ratio of some series, rounded up to a tenth, in [0.1, 1]."""
    highest = max((value or 0.0 for each in series for value in each), default=0.0)
    return min(1.0, math.ceil(10 * max(_LEAST_TOP, highest)) / 10)


def spark(series: Sequence[float | None], top: float, width: int, paused: Sequence[int] = ()) -> str:
    """Return a series as bars, the highest value of each part; "·" is no data.

    Args:
        series: Ratios in [0, 1], the oldest first, None for no data; a multiple of *width* of them.
        top: The ratio of a full bar, above 0.
        width: Number of bars.
        paused: Indices of the series in which the intake was paused; without data they are "‖".
    """
    steps = len(series) // width
    return "".join(
        _bar(
            series[start : start + steps],
            top,
            is_paused=any(start <= each < start + steps for each in paused),
        )
        for start in range(0, steps * width, steps)
    )


def reasons(row: dict[str, Any]) -> str:
    """Return why deliveries of a handler came again in the last minute; empty if none did."""
    parts = [f"{count(number)} × {label}" for label, number in row["top"]] if row["failed"] else []
    if row["timeouts"]:
        parts.append(f"{count(row['timeouts'])} × timeout")
    if row["others"]:
        parts.append(f"{count(row['others'])} given back")
    return ", ".join(parts)


def intake(row: dict[str, Any]) -> str:
    """Return what the intake of a handler does, such as ``paused, 3 min left``; empty if it runs."""
    if row["state"] == "running":
        return ""
    state = str(row["state"]).replace("_", " ")
    return f"{state}, {duration(row['remaining_s'])} left" if row["remaining_s"] else state


def _bar(values: Sequence[float | None], top: float, *, is_paused: bool) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return PAUSED if is_paused else "·"
    return _BARS[min(len(_BARS) - 1, math.ceil(max(known) / top * (len(_BARS) - 1)))]
