"""One setting: the values that it may have, and how it reads them from text; it reads no source.

The table of all settings is in ``nsqkit.settings.settings``.
"""

import math
import re
from typing import Final, Literal, NamedTuple

from nsqkit.errors import SettingsError
from nsqkit.policy.address import split_address
from nsqkit.policy.redaction import is_secret_name, redact_whole

ENV_PREFIX: Final = "NSQKIT_"
MASK: Final = "********"

Kind = Literal["whole number", "number", "true or false", "text", "names", "addresses"]

_SECRET_NAME = re.compile(r"secret|password|token|key")
_BOOLEANS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


class Setting(NamedTuple):
    """One row of the table: a setting's name, its default and the values that it may have."""

    name: str
    kind: Kind
    default: object
    minimum: float | None
    maximum: float | None
    unit: str
    choices: tuple[str, ...]
    secret: bool
    help: str

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return ENV_PREFIX + self.name.upper()

    @property
    def range_text(self) -> str:
        """The allowed values in words; empty if every value of its kind is allowed."""
        if self.choices:
            return ", ".join(self.choices)
        if self.minimum is None or self.maximum is None:
            return ""
        return f"{plain(self.minimum)} to {plain(self.maximum)}"

    def checked(self, value: object, origin: str) -> object:
        """Return *value* as this setting's type.

        Args:
            value: The value, as text or already of the right type.
            origin: Where it came from, for the error; may be empty.

        Raises:
            SettingsError: If the value is of the wrong kind or outside the range.
        """
        try:
            match self.kind:
                case "whole number" | "number":
                    return _in_range(self, _as_number(self.kind, value))
                case "true or false":
                    return _as_boolean(value)
                case "text":
                    return _as_text(self, value)
                case _:
                    return _as_list(self, value)
        except ValueError as error:
            shown = MASK if self.secret or is_secret(self.name) else redact_whole(repr(value))
            raise wrong_value(self.name, shown, redact_whole(str(error)), origin) from None


def is_secret(name: str) -> bool:
    """Whether a setting of this name contains a secret."""
    return _SECRET_NAME.search(name) is not None or is_secret_name(name)


def wrong_value(name: str, shown: str, problem: str, origin: str) -> SettingsError:
    """Return the error on a value, as one line with its origin."""
    return SettingsError(f"{name}={shown} {problem}" + (f" (from {origin})" if origin else ""))


def plain(number: float) -> str:
    """Return a number without a needless ``.0`` or exponent."""
    return str(int(number)) if math.isfinite(number) and number == int(number) else str(number)


def shown(value: object, *, secret: bool) -> str:
    """Return a value as text for a person; no value is ``-``.

    Args:
        value: The value.
        secret: Whether all of it is masked; otherwise only what looks like a secret is.
    """
    if value is None or value == ():
        return "-"
    if secret:
        return MASK
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return redact_whole(", ".join(value))
    return plain(value) if isinstance(value, float) else redact_whole(str(value))


def _as_number(kind: Kind, value: object) -> float:
    convert = int if kind == "whole number" else float
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"is not a {kind}")  # noqa: TRY004 - reported as a SettingsError
    try:
        number = convert(value)
    except (ValueError, OverflowError):
        raise ValueError(f"is not a {kind}") from None
    if not math.isfinite(number) or (isinstance(value, float) and number != value):
        raise ValueError(f"is not a {kind}")
    return number


def _in_range(setting: Setting, number: float) -> float:
    lowest = -math.inf if setting.minimum is None else setting.minimum
    highest = math.inf if setting.maximum is None else setting.maximum
    if not lowest <= number <= highest:
        unit = f" {setting.unit}" if setting.unit else ""
        raise ValueError(f"is not in {plain(lowest)}..{plain(highest)}{unit}")
    return number


def _as_boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _BOOLEANS:
        return _BOOLEANS[value.strip().lower()]
    raise ValueError("is neither true nor false")


def _as_text(setting: Setting, value: object) -> str | None:
    if value is None and setting.default is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ValueError("is blank or not text")
    if setting.choices and value not in setting.choices:
        raise ValueError(f"is not one of {', '.join(setting.choices)}")
    return value


def _as_list(setting: Setting, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list of strings")  # noqa: TRY004 - reported as a SettingsError
    found: list[str] = []
    for item in value:
        if not isinstance(item, str):
            raise ValueError("is not a list of strings")  # noqa: TRY004 - reported as a SettingsError
        name = item.strip()
        if setting.kind == "addresses" and name:
            try:
                split_address(name)
            except SettingsError as error:
                raise ValueError(f"has {error}") from None
        if name and name not in found:
            found.append(name)
    return tuple(found)
