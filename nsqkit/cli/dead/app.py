"""The commands below `nsqkit dead`."""

import typer

from nsqkit.cli.dead.collect import collect
from nsqkit.cli.dead.empty import empty
from nsqkit.cli.dead.replay import replay
from nsqkit.cli.dead.show import ls, show

app = typer.Typer(
    help="Collect, list, show, replay and delete dead letters.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _name, _command, _help in (
    ("collect", collect, "Move dead letters from NSQ into a store."),
    ("ls", ls, "List dead letters, or count them in groups."),
    ("show", show, "Show one dead letter in full."),
    ("replay", replay, "Publish dead letters again, for their own handler."),
    ("empty", empty, "Delete dead letters from the store."),
):
    app.command(_name, short_help=_help)(_command)
