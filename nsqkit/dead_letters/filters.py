"""Filters: conditions on dead letters, as they are written on a command line. Pure: no clock, no store."""

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
"""The fields that a condition can name, and the attribute of a dead letter behind each."""

_CONDITION = re.compile(r"(?P<field>\w+)(?P<relation>[=~])(?P<text>.*)", re.DOTALL)
_AGE = re.compile(r"(?P<number>\d{1,6}(?:\.\d+)?)(?P<unit>[smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one attribute of a dead letter.

    Args:
        attribute: Name of the attribute.
        text: The text to compare it with.
        is_whole: Whether the attribute must equal the text; otherwise it must contain it, in any case.
    """

    attribute: str
    text: str
    is_whole: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``FIELD=VALUE`` or ``FIELD~TEXT``.

        Raises:
            SettingsError: If the text has neither form, or there is no such field.
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
    """Selects the dead letters that meet all of these conditions.

    Args:
        conditions: Conditions on their attributes.
        since: The earliest time at which they were given up, RFC 3339 UTC to the microsecond; None for any.
        before: They were given up before this time, in the same form; None for any.
        ids: Their numbers in the store; empty for any.
        is_fresh: Whether only dead letters that were never replayed are selected.
    """

    conditions: tuple[Condition, ...] = ()
    since: str | None = None
    before: str | None = None
    ids: tuple[int, ...] = ()
    is_fresh: bool = False


def moment(option: str, text: str, now: datetime) -> str:
    """Return a point in time in the form in which dead letters have theirs.

    Args:
        option: Name of the command-line option, for the error.
        text: An age such as ``30m``, ``2h``, ``1d`` or ``1w``; or an RFC 3339 time, local without a zone.
        now: The present time, with a zone.

    Raises:
        SettingsError: If the text is neither an age nor a time.
    """
    try:
        if age := _AGE.fullmatch(text):
            return rfc3339.from_datetime(now - timedelta(**{_UNITS[age["unit"]]: float(age["number"])}))
        return rfc3339.normalized(text)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{option} {text!r}: give an age such as 30m, 2h or 1d, or a time such as 2026-01-31T09:30:00Z"
        ) from None
