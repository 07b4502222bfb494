"""`nsqkit dead ls` and `nsqkit dead show`: the dead letters in a store. They change nothing."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal
from nsqkit.cli.dead import selection

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings

_ROWS = 20


class By(StrEnum):
    """A field that dead letters are grouped by."""

    ERROR = "error"
    REASON = "reason"
    HANDLER = "handler"


@options.with_settings(options.STORE, options.FILE)
def ls(
    *,
    where: selection.Where = None,
    since: selection.Since = None,
    handler: selection.HandlerName = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"The newest N. [default: {_ROWS}; with --json all]"),
    ] = None,
    by: Annotated[By | None, typer.Option(help="Count them in groups.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    settings: "Settings",
) -> int:
    """List dead letters in the store, the newest first."""
    from nsqkit.cli.dead import text
    from nsqkit.dead_letters.store import Store

    filters = selection.filters(where=where, since=since, handler=handler)
    with Store(Path(settings.dead_store)) as store:
        if json:
            text.show_lines(store.groups(filters, by) if by else store.find(filters, limit=limit))
            return 0
        count = store.count(filters)
        if by and count:
            text.show_groups(store.groups(filters, by), by)
        elif count:
            text.show(list(store.find(filters, limit=limit or _ROWS)))
        left_out = 0 if by else max(0, count - (limit or _ROWS))
        hint = f", the newest {count - left_out} of them shown (--limit)" if left_out else ""
        terminal.echo(f"{selection.counted(count)} in {settings.dead_store}{hint}")
    return 0


@options.with_settings(options.STORE, options.FILE)
def show(
    number: Annotated[
        int, typer.Argument(metavar="ID", min=1, max=selection.LARGEST_ID, help="Number as `ls` shows it.")
    ],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write only the body, byte by byte.")] = False,
    settings: "Settings",
) -> int:
    """Show one dead letter in full. What looks like a secret in its body is masked, unless with --raw.

    With --raw, a terminal shows control characters as escapes; a file or a pipe gets the bytes.
    """
    from nsqkit.cli.dead import text
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.dead_letters.store import Store
    from nsqkit.loading.readers import Readers

    with Store(Path(settings.dead_store)) as store:
        selection.check_exist([number], store)
        (stored,) = store.find(Filters(ids=(number,)))
    if raw and sys.stdout.isatty():
        terminal.echo(stored.letter.body.decode(errors="backslashreplace"), nl=False)
    elif raw:
        sys.stdout.buffer.write(stored.letter.body)
    else:
        readers = Readers(settings, terminal.warn)
        text.show_one(stored, readers.body(stored.letter.body, stored.letter.topic, stored.letter.channel))
    return 0
