"""RFC 3339: times as text, in UTC and to the microsecond, so that their texts sort as they do. No clock."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

_US_PER_S: Final = 1_000_000


def from_ns(time_ns: int) -> str:
    """Return a time such as ``2026-01-31T09:30:00.000000Z``, rounded to the nearest microsecond.

    Args:
        time_ns: Nanoseconds since 1970; less than 0 before that.

    Returns:
        The text; empty if no date is that far away.
    """
    second, us = divmod((time_ns + 500) // 1000, _US_PER_S)
    try:
        return f"{_date_and_time(second)}.{us:06d}Z"
    except (ValueError, OverflowError, OSError):
        return ""


def from_datetime(moment: datetime) -> str:
    """Return a time in the same form as :func:`from_ns`.

    Args:
        moment: The time; local if it has no zone.

    Raises:
        ValueError: If it is before the first or after the last year in UTC.
    """
    try:
        at = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(str(error)) from None
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def normalized(text: str) -> str:
    """Return a time in the same form as :func:`from_ns`.

    Args:
        text: An RFC 3339 time with any offset and any fraction; local if it has no offset.

    Raises:
        ValueError: If it is not a time.
    """
    return from_datetime(datetime.fromisoformat(text))


@lru_cache(maxsize=1)  # most events are published in the same second as the one before
def _date_and_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()
