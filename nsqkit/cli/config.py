"""`nsqkit config` and `nsqkit version`: the settings and the version of this installation."""

from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


def _print_reference(wanted: bool) -> None:
    if wanted:
        from nsqkit.cli import tables

        terminal.echo(tables.settings_reference(), nl=False)
        raise typer.Exit


@options.with_settings(options.APP, options.FILE)
def config(
    *,
    json: options.Json = False,
    markdown: Annotated[  # noqa: ARG001 - its callback prints, whatever the settings are
        bool,
        typer.Option(
            "--markdown",
            is_eager=True,
            callback=_print_reference,
            help="Print the reference, docs/settings.md.",
        ),
    ] = False,
    settings: "Settings",
) -> int:
    """Print every setting, its value and where the value came from. Secrets are masked."""
    from nsqkit.cli import tables

    if json:
        tables.show_json([row._asdict() for row in settings.rows()])
    else:
        tables.show(tables.settings(settings.rows()))
    return 0


def version() -> int:
    """Print the version."""
    from nsqkit.version import __version__

    terminal.echo(f"nsqkit {__version__}")
    return 0


def print_version(wanted: bool) -> None:
    """Print the version and end the program, if the option was given."""
    if wanted:
        version()
        raise typer.Exit
