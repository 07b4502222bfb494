"""How a field of ``Settings`` declares its row of the table: kind, range, unit and help text."""

import dataclasses
from collections.abc import Iterator
from dataclasses import field
from typing import Any

from nsqkit.settings.setting import Kind, Setting


def number(default: float, lowest: float, highest: float, unit: str, text: str) -> Any:
    """Declare a number in [*lowest*, *highest*]; a whole number if the default is one."""
    kind: Kind = "whole number" if isinstance(default, int) else "number"
    return field(
        default=default, metadata={"kind": kind, "range": (lowest, highest), "unit": unit, "help": text}
    )


def text(default: str | None, text: str, *, choices: tuple[str, ...] = (), secret: bool = False) -> Any:
    """Declare a text, one of *choices* if there are any; a secret is never shown."""
    metadata = {"kind": "text", "choices": choices, "secret": secret, "help": text}
    return field(default=default, repr=not secret, metadata=metadata)


def listing(kind: Kind, text: str) -> Any:
    """Declare a list of names or addresses, empty by default."""
    return field(default=(), metadata={"kind": kind, "help": text})


def switch(text: str) -> Any:
    """Declare a setting that is true or false, false by default."""
    return field(default=False, metadata={"kind": "true or false", "help": text})


def table(settings: type[Any]) -> Iterator[Setting]:
    """Yield the row of every field that declares one, in order."""
    for each in dataclasses.fields(settings):
        about = each.metadata
        if "kind" not in about:
            continue
        lowest, highest = about.get("range", (None, None))
        yield Setting(
            each.name,
            about["kind"],
            each.default,
            lowest,
            highest,
            about.get("unit", ""),
            about.get("choices", ()),
            about.get("secret", False),
            about["help"],
        )
