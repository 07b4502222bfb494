"""Filters: which dead letters are meant. Pure: no clock, no store."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, Self

from nsqkit.errors import SettingsError
from nsqkit.events import rfc3339
from nsqkit.policy.suggestion import suggestion

FIELDS: Final = MappingProxyType(
    {
        "error": "error_type",
        "reason": "reason",
        "topic": "topic",
        "channel": "channel",
        "handler": "handler",
        "event": "event_type",
        "detail": "detail",
    }
)
"""What a condition may be about, and the attribute of a dead letter that it looks at."""

_CONDITION = re.compile(r"(?P<field>\w+)(?P<relation>[=~])(?P<text>.*)", re.DOTALL)
_AGE = re.compile(r"(?P<number>\d{1,6}(?:\.\d+)?)(?P<unit>[smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that must hold.

    Args:
        attribute: Of a dead letter.
        text: What it is, or has in it.
        is_whole: Whether it must be the text; else the text is somewhere in it, capital or not.
    """

    attribute: str
    text: str
    is_whole: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``FIELD=VALUE`` or ``FIELD~TEXT``.

        Raises:
            SettingsError: If it is neither, or there is no such field.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise SettingsError(f"--where {text!r}: give it as FIELD=VALUE, or FIELD~TEXT for a part of it")
        field = match["field"]
        if field not in FIELDS:
            hint = suggestion(field, FIELDS) or f"; there are {', '.join(FIELDS)}"
            raise SettingsError(f"--where {text!r}: dead letters have no {field!r}{hint}")
        return cls(FIELDS[field], match["text"], match["relation"] == "=")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which dead letters are meant: those for which all of this holds.

    Args:
        conditions: What they must be.
        since: Given up then or later, RFC 3339 UTC to the microsecond; None for whenever.
        before: Given up before then, in the same form.
        ids: In the store; none for any.
        is_fresh: Only those that were never replayed.
    """

    conditions: tuple[Condition, ...] = ()
    since: str | None = None
    before: str | None = None
    ids: tuple[int, ...] = ()
    is_fresh: bool = False


def moment(option: str, text: str, now: datetime) -> str:
    """Return a point in time in the form that dead letters have theirs in.

    Args:
        option: For the error.
        text: An age such as ``30m``, ``2h``, ``1d`` or ``1w``; or RFC 3339, local where it has no zone.
        now: With a zone.

    Raises:
        SettingsError: If it is neither.
    """
    try:
        if age := _AGE.fullmatch(text):
            return rfc3339.from_datetime(now - timedelta(**{_UNITS[age["unit"]]: float(age["number"])}))
        return rfc3339.normalized(text)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{option} {text!r}: give an age such as 30m, 2h or 1d, or a time such as 2026-01-31T09:30:00Z"
        ) from None
