"""`nsqkit dead empty`: deletes dead letters from a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal
from nsqkit.cli.dead import selection

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@options.with_settings(options.STORE, options.FILE)
def empty(
    ids: selection.Ids = None,
    *,
    where: selection.Where = None,
    since: selection.Since = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE|TIME", help="Select those given up before then: 30d, or RFC 3339."),
    ] = None,
    handler: selection.HandlerName = None,
    dry_run: selection.DryRun = False,
    yes: selection.Yes = False,
    settings: "Settings",
) -> int:
    """Delete dead letters from the store permanently."""
    from nsqkit.dead_letters.store import Store

    filters = selection.filters(ids=ids, where=where, since=since, older_than=older_than, handler=handler)
    with Store(Path(settings.dead_store)) as store:
        selection.check_exist(filters.ids, store)
        chosen = store.ids(filters)
        count = selection.counted(len(chosen))
        if dry_run or not chosen:
            terminal.echo(f"{count} would be deleted from {settings.dead_store}")
            return 0
        if not selection.confirmed(f"delete {count} from {settings.dead_store} permanently", yes=yes):
            return 1
        terminal.echo(f"deleted {selection.counted(store.remove(chosen))} from {settings.dead_store}")
    return 0
