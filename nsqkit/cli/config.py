"""`nsqkit config` and `nsqkit version`: what this installation would run with."""

from typing import Annotated

import typer

from nsqkit.cli import options


def config(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference, docs/settings.md.")
    ] = False,
    app: options.App = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Print the settings. Values, and where each came from; secrets are masked."""
    from nsqkit.cli import tables

    if markdown:
        typer.echo(tables.settings_reference(), nl=False)
        return 0
    rows = options.settings(set_=set_, app=app, config=config).rows()
    if json:
        tables.show_json([row._asdict() for row in rows])
    else:
        tables.show(tables.settings(rows))
    return 0


def version() -> int:
    """Print the version."""
    from nsqkit.version import __version__

    typer.echo(f"nsqkit {__version__}")
    return 0


def print_version(wanted: bool) -> None:
    """Print the version and end, where the option was given."""
    if wanted:
        version()
        raise typer.Exit
