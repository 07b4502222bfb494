"""Options that several commands share, each written once, and the settings that they result in."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings

Modules = Annotated[
    list[str],
    typer.Argument(metavar="MODULE", help="Modules, packages or module:Class. [default: setting modules]"),
]
Rate = Annotated[float | None, typer.Option(metavar="N", help="At most N messages per second.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

Group = Mapping[str, Any]
"""Options by the name of their setting. Each is None, or False, where it was not given."""

NSQD: Final[Group] = {
    "nsqd": Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="An nsqd; may be repeated.")],
    "lookupd": Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="HTTP address of an nsqlookupd; may be repeated."),
    ],
}
NSQ: Final[Group] = {
    **NSQD,
    "nsqd_http": Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="HTTP address of an nsqd, if it is not the TCP port plus one; may be repeated.",
        ),
    ],
}
STORE: Final[Group] = {
    "dead_store": Annotated[
        Path | None,
        typer.Option(
            "--store", metavar="FILE", help="File of the dead letters. [default: setting dead_store]"
        ),
    ],
}
APP: Final[Group] = {
    "app": Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A setting of your own handlers; may be repeated."),
    ],
}
FILE: Final[Group] = {
    "set_": Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="Any setting (see `nsqkit config`); may be repeated."
        ),
    ],
    "config": Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings file. [default: nsqkit.toml, if there is one]"),
    ],
}
LOGGING: Final[Group] = {
    "log_format": Annotated[str | None, typer.Option(metavar="FORMAT", help="auto, console or json.")],
    "log_level": Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning, error or critical.")
    ],
}

Command = Callable[..., int]


def with_settings(*groups: Group) -> Callable[[Command], Command]:
    """Make a function that takes ``settings`` a command with options for them.

    The command has the function's own options, those of the groups, and ``--debug``, which ``main()`` reads.
    The function may take any of these too, by name. Without any, ``modules`` are those of the settings.

    Args:
        *groups: Options in the order in which ``--help`` lists them.
    """
    shared = {name: annotation for group in groups for name, annotation in group.items()}

    def decorate(command: Command) -> Command:
        taken = inspect.signature(command).parameters
        own = [each for each in taken.values() if each.name not in {*shared, "settings", "debug"}]
        own = [each.replace(default=None) if each.name == "modules" else each for each in own]
        options = [_keyword(name, annotation, None) for name, annotation in shared.items()]

        def run(**given: Any) -> int:
            found = settings(**{name: given[name] for name in shared})
            passed = {name: value for name, value in given.items() if name in taken}
            if "modules" in taken:
                passed["modules"] = given["modules"] or _modules(found)
            return command(**passed, settings=found)

        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        signature = inspect.Signature([*own, *options, _keyword("debug", Debug, default=False)])
        run.__signature__ = signature  # type: ignore[attr-defined]
        return run

    return decorate


def settings(
    *,
    set_: Sequence[str] | None = None,
    app: Sequence[str] | None = None,
    config: Path | None = None,
    **flags: object,
) -> "Settings":
    """Return the settings; these flags come before the environment and the file.

    Args:
        set_: ``NAME=VALUE`` for any setting.
        app: ``NAME=VALUE`` for settings of the team's own handlers.
        config: The settings file; None for ``nsqkit.toml``, if there is one.
        **flags: Settings by name; None, False or empty if the flag was not given.

    Raises:
        SettingsError: If a name or a value is wrong.
    """
    from nsqkit.settings.settings import Settings

    named: dict[str, object] = dict(pair("--set", each) for each in set_ or ())
    own = dict(pair("--app", each) for each in app or ())
    return Settings.load({**named, **_given(flags), "app": own}, file=config)


def _modules(settings: "Settings") -> list[str]:
    """Return the modules that the settings name, for a command that names none."""
    from nsqkit.errors import SettingsError

    if not settings.modules:
        raise SettingsError(
            "no modules: name them, as in nsqkit run shop.orders, or set them in nsqkit.toml, below "
            '[nsqkit]: modules = ["shop.orders"]'
        )
    return list(settings.modules)


def pair(option: str, text: str, form: str = "NAME=VALUE") -> tuple[str, str]:
    """Split ``NAME=VALUE``.

    Args:
        option: Name of the option, for the error.
        text: What was given.
        form: What the error calls ``NAME=VALUE``.

    Raises:
        SettingsError: If there is no name or no ``=``.
    """
    from nsqkit.errors import SettingsError

    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise SettingsError(f"{option} {text!r}: give it as {form}")
    return name.strip(), value


def checked_rate(rate: float | None) -> float | None:
    """Return a rate of messages per second; None for no limit.

    Raises:
        SettingsError: If it is not a finite number above 0.
    """
    from nsqkit.errors import SettingsError

    if rate is not None and not 0 < rate < float("inf"):
        raise SettingsError(f"--rate {rate:g}: give messages per second, above 0")
    return rate


def _given(flags: Mapping[str, object]) -> dict[str, object]:
    """Return the flags that were given; a number of 0 was."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in flags.items()
        if value is not None and value is not False and value != []
    }


def _keyword(name: str, annotation: Any, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
