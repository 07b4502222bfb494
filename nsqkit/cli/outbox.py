"""`nsqkit outbox`: the parked events of an outbox, which nsqd can never take as they are."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings

Name = Annotated[str, typer.Argument(metavar="NAME", help='Name of the database, as in Database("…").')]

app = typer.Typer(
    help="List and replay events of an outbox that can never be published as they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@options.with_settings(options.APP, options.FILE)
def ls(name: Name, *, json: options.Json = False, settings: "Settings") -> int:
    """List the parked events of a database: those that nsqd refuses for good."""
    from nsqkit.cli import tables
    from nsqkit.sql.parked import parked_events

    found = parked_events(name, settings)
    if json:
        tables.show_json([asdict(each) for each in found])
        return 0
    for each in found:
        at = datetime.fromtimestamp(each.parked_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        terminal.echo(f"{each.id}  {at}  {each.topic}  {each.problem}")
    terminal.echo(f"parked events: {len(found)}")
    return 0


@options.with_settings(options.APP, options.FILE)
def replay(
    name: Name,
    ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="Numbers from `nsqkit outbox ls`; all if none.")
    ] = None,
    *,
    settings: "Settings",
) -> int:
    """Let relays publish parked events again."""
    from nsqkit.sql.parked import replay as again

    terminal.echo(f"events that a relay publishes again: {again(name, settings, ids or ())}")
    return 0


for _name, _command, _help in (
    ("ls", ls, "List the parked events of a database."),
    ("replay", replay, "Let relays publish parked events again."),
):
    app.command(_name, short_help=_help)(_command)
