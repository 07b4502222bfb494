"""Options that several commands have, and the settings made of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings

_NSQ = "NSQ"

Modules = Annotated[list[str], typer.Argument(metavar="MODULE", help="Modules, packages or module:Class.")]
Nsqd = Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="An nsqd; may be repeated.")]
Lookupd = Annotated[
    list[str] | None, typer.Option(metavar="HOST:PORT", help="An nsqlookupd, its HTTP port; may be repeated.")
]
NsqdHttp = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT", help="The HTTP port of an nsqd, if it is not TCP's plus one; may be repeated."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any setting (see `nsqkit config`); may be repeated."),
]
App = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A setting of your own handlers; may be repeated."),
]
Config = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Settings file. [default: nsqkit.toml, if there is one]")
]
LogFormat = Annotated[str | None, typer.Option(metavar="FORMAT", help="auto, console or json.")]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="debug, info, warning, error or critical.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def settings(
    *,
    set_: Sequence[str] | None = None,
    app: Sequence[str] | None = None,
    config: Path | None = None,
    **flags: object,
) -> "Settings":
    """Return the settings, with these flags before environment and file.

    Args:
        set_: ``NAME=VALUE`` each, of any setting.
        app: ``NAME=VALUE`` each, of the team's own.
        config: The settings file.
        **flags: Settings by name; None or empty where the flag was not given.

    Raises:
        SettingsError: If a name or a value is wrong.
    """
    from nsqkit.settings.settings import Settings

    given = {name: value for name, value in flags.items() if value not in (None, [])}
    named: dict[str, object] = dict(pair("--set", each) for each in set_ or ())
    own = dict(pair("--app", each) for each in app or ())
    return Settings.load({**named, **given, "app": own}, file=config)


def pair(option: str, text: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Split ``NAME=VALUE``; *form* is what the error calls it.

    Raises:
        SettingsError: If there is no name or no ``=``.
    """
    from nsqkit.errors import SettingsError

    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise SettingsError(f"{option} {text!r}: give it as {form}")
    return name.strip(), value
