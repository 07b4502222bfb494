"""RFC 3339 times: text in UTC with microseconds, which sorts in the order of time. It reads no clock."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_US_PER_S: Final = 1_000_000


def from_ns(time_ns: int) -> str:
    """Return a time such as ``2026-01-31T09:30:00.000000Z``, rounded to the nearest microsecond.

    Args:
        time_ns: Nanoseconds since 1970; negative for earlier times.

    Returns:
        The text; empty if the time is outside the range of dates.
    """
    second, us = divmod((time_ns + 500) // 1000, _US_PER_S)
    try:
        return f"{_date_and_time(second)}.{us:06d}Z"
    except (ValueError, OverflowError, OSError):
        return ""


def from_datetime(moment: datetime) -> str:
    """Return a time in the same form as :func:`from_ns`.

    Args:
        moment: The time; local time if it has no zone.

    Raises:
        ValueError: If its year in UTC is not in 1..9999.
    """
    try:
        at = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def normalized(text: str) -> str:
    """Return a time in the same form as :func:`from_ns`.

    Args:
        text: An RFC 3339 time with any offset and fraction; local time if it has no offset.

    Raises:
        ValueError: If *text* is not such a time.
    """
    return from_datetime(datetime.fromisoformat(text))


@lru_cache(maxsize=1)  # most events are published in the same second as the one before
def _date_and_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
