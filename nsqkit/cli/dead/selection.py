"""Selection: the options that choose dead letters, and the question before something is done to them."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import terminal

if TYPE_CHECKING:
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.dead_letters.store import Store

LARGEST_ID = 2**63 - 1

Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE",
        help="Select by a field: error=ValueError, or detail~card for a part of it. Fields: error, reason, "
        "topic, channel, handler, event, detail. If repeated, all conditions must hold.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="AGE|TIME", help="Select those given up since then: 30m, 2h, 1d, or RFC 3339."),
]
HandlerName = Annotated[
    str | None, typer.Option("--handler", metavar="NAME", help="Same as --where handler=NAME.")
]
Ids = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", min=1, max=LARGEST_ID, help="Numbers as `ls` shows them."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


def filters(
    *,
    ids: Sequence[int] | None = None,
    where: Sequence[str] | None,
    since: str | None,
    handler: str | None,
    older_than: str | None = None,
) -> "Filters":
    """Return what a command line selects.

    Raises:
        SettingsError: If a condition or a time is not one.
    """
    from nsqkit.dead_letters.filters import Condition, Filters, moment

    now = datetime.now(UTC)
    conditions = [Condition.parse(each) for each in where or ()]
    if handler is not None:
        conditions.append(Condition.parse(f"handler={handler}"))
    return Filters(
        conditions=tuple(conditions),
        since=moment("--since", since, now) if since is not None else None,
        before=moment("--older-than", older_than, now) if older_than is not None else None,
        ids=tuple(ids or ()),
    )


def check_exist(ids: Sequence[int], store: "Store") -> None:
    """Check that a store has these dead letters.

    Raises:
        SettingsError: If one is missing.
    """
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.errors import SettingsError

    missing = set(ids) - set(store.ids(Filters(ids=tuple(ids)))) if ids else set()
    if missing:
        shown = ", ".join(map(str, sorted(missing)))
        raise SettingsError(f"there is no dead letter {shown} in {store.path}: `nsqkit dead ls` lists them")


def confirmed(action: str, *, yes: bool) -> bool:
    """Return whether the user agrees to an action.

    Args:
        action: What is about to be done, such as ``delete 3 dead letters``.
        yes: Whether the user has agreed already, with ``--yes``.

    Raises:
        SettingsError: If there is no terminal to ask on.
    """
    from nsqkit.errors import SettingsError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError(f"there is no terminal to ask on whether to {action}: give --yes")
    terminal.echo(f"{action}? [y/N] ", nl=False, err=True)
    agreed = sys.stdin.readline().strip().lower() in {"y", "yes"}
    if not agreed:
        terminal.echo("nothing was done", err=True)
    return agreed


def counted(count: int) -> str:
    """Return a number of dead letters in words, such as ``1 dead letter``."""
    return f"{count:,} dead letter{'' if count == 1 else 's'}"
