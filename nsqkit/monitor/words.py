"""Words: figures as text, in the same form as on the page. Nothing to show is "–", never 0 or NaN."""

import time
from typing import Final

NOTHING: Final = "–"
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_FEW: Final = 10.0


def percent(ratio: float | None) -> str:
    """Return a share in [0, 1] in percent."""
    return NOTHING if ratio is None else f"{100 * ratio:.1f} %"


def rate(per_second: float) -> str:
    """Return a number per second."""
    return f"{per_second:.0f} /s" if per_second >= _FEW else f"{per_second:.1f} /s"


def count(number: float | None) -> str:
    """Return a whole number, with commas between thousands."""
    return NOTHING if number is None else f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Return seconds in the unit that suits them."""
    if seconds < 1:
        return f"{max(1, round(1000 * seconds))} ms"
    for limit_s, unit_s, unit in (
        (2 * _MINUTE_S, 1, "s"),
        (2 * _HOUR_S, _MINUTE_S, "min"),
        (2 * _DAY_S, _HOUR_S, "h"),
    ):
        if seconds < limit_s:
            return f"{round(seconds / unit_s, 1 if unit_s == 1 else None):g} {unit}"
    return f"{seconds / _DAY_S:.0f} d"


def age(seconds: float | None) -> str:
    """Return the upper bound of an age; below 0 it has none."""
    if seconds is None:
        return NOTHING
    return "> 1 d" if seconds < 0 else f"≤ {duration(seconds)}"


def clock(at_s: float) -> str:
    """Return a time of the day in UTC.

    Args:
        at_s: Seconds since 1970 UTC.
    """
    return time.strftime("%H:%M:%S", time.gmtime(at_s))


def date(at_s: float) -> str:
    """Return a date and a time of the day in UTC.

    Args:
        at_s: Seconds since 1970 UTC.
    """
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_s))
