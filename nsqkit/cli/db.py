"""`nsqkit db`: nsqkit's tables in the databases of handlers."""

from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings

app = typer.Typer(
    help="Create and upgrade nsqkit's tables in a database of handlers.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback()
def _root() -> None:
    """Create and upgrade nsqkit's tables in a database of handlers."""


@options.with_settings(options.APP, options.FILE)
def upgrade(
    name: Annotated[str, typer.Argument(metavar="NAME", help='Name of the database, as in Database("…").')],
    *,
    settings: "Settings",
) -> int:
    """Create or upgrade nsqkit's tables in a database. Its URL is the setting app.NAME_url."""
    from nsqkit.sql import Database

    before, after = Database(name).upgrade(settings)
    if before == after:
        terminal.echo(f"database {name} has schema {after} already")
    else:
        terminal.echo(f"database {name}: schema {before or 'none'} is now {after}")
    return 0


app.command("upgrade", short_help="Create or upgrade nsqkit's tables in a database.")(upgrade)
