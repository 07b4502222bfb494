"""`nsqkit dead`: dead letters collected into a store, listed, shown, replayed, deleted."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options

if TYPE_CHECKING:
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.dead_letters.store import Store

_ROWS = 20
_LARGEST_ID = 2**63 - 1

StorePath = Annotated[
    Path | None,
    typer.Option("--store", metavar="FILE", help="Where they are kept. [default: setting dead_store]"),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE",
        help="Only such: error=ValueError, or detail~card for a part of it. Fields: error, reason, topic, "
        "channel, handler, event, detail. May be repeated, then all hold.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(metavar="AGE|TIME", help="Only what was given up since: 30m, 2h, 1d, or RFC 3339."),
]
HandlerName = Annotated[
    str | None, typer.Option("--handler", metavar="NAME", help="Same as --where handler=NAME.")
]
Ids = Annotated[
    list[int] | None,
    typer.Argument(metavar="ID", min=1, max=_LARGEST_ID, help="Numbers as `ls` shows them."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class By(StrEnum):
    """What dead letters are grouped by."""

    ERROR = "error"
    REASON = "reason"
    HANDLER = "handler"


def collect(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC/CHANNEL", help="Whose dead letters; or `all`, as without any."),
    ] = None,
    *,
    exit_when_idle: Annotated[bool, typer.Option("--exit-when-idle", help="End when none is left.")] = False,
    store: StorePath = None,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    nsqd_http: options.NsqdHttp = None,
    set_: options.Set = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Take dead letters out of NSQ into a store, until Ctrl-C. Each is finished once it is on the disk."""
    settings = options.settings(
        set_=set_,
        config=config,
        nsqd=nsqd,
        lookupd=lookupd,
        nsqd_http=nsqd_http,
        log_format=log_format,
        log_level=log_level,
        dead_store=_text(store),
    )
    from nsqkit.dead_letters.collect import collect as run
    from nsqkit.dead_letters.discover import wanted_topics
    from nsqkit.telemetry import logs

    topics = wanted_topics(sources or [])
    logs.configure(settings)
    done = run(
        settings,
        topics=topics,
        exit_when_idle=exit_when_idle,
        on_second_signal=ending.on_second_signal,
    )
    for topic in sorted(done.missing):
        typer.echo(f"no nsqd here has the topic {topic}: it has taken no dead letter yet", err=True)
    again = f"; {_many(done.known)} came again, stored before" if done.known else ""
    typer.echo(f"stored {_many(done.stored)} in {settings.dead_store}{again}")
    return 0


def ls(
    *,
    where: Where = None,
    since: Since = None,
    handler: HandlerName = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"The newest N. [default: {_ROWS}; with --json all]"),
    ] = None,
    by: Annotated[By | None, typer.Option(help="Count them in groups.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    store: StorePath = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """List dead letters in the store, the newest first."""
    settings = options.settings(set_=set_, config=config, dead_store=_text(store))
    from nsqkit.cli import letters
    from nsqkit.dead_letters.store import Store

    filters = _filters(where=where, since=since, handler=handler)
    with Store(Path(settings.dead_store)) as found:
        if json:
            rows = found.groups(filters, by) if by else found.find(filters, limit=limit)
            letters.show_lines(rows)
            return 0
        count = found.count(filters)
        if by and count:
            letters.show_groups(found.groups(filters, by), by)
        elif count:
            letters.show(list(found.find(filters, limit=limit or _ROWS)))
        left_out = 0 if by else max(0, count - (limit or _ROWS))
        hint = f", the newest {count - left_out} of them shown (--limit)" if left_out else ""
        typer.echo(f"{_many(count)} in {settings.dead_store}{hint}")
    return 0


def show(
    number: Annotated[int, typer.Argument(metavar="ID", min=1, max=_LARGEST_ID, help="As `ls` shows it.")],
    *,
    raw: Annotated[bool, typer.Option("--raw", help="Write the body alone, byte by byte.")] = False,
    store: StorePath = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Show one dead letter in full. What looks like a secret in its body is masked, unless with --raw."""
    settings = options.settings(set_=set_, config=config, dead_store=_text(store))
    from nsqkit.cli import letters
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.dead_letters.store import Store

    with Store(Path(settings.dead_store)) as found:
        _check_there([number], found)
        (letter,) = found.find(Filters(ids=(number,)))
    if raw:
        sys.stdout.buffer.write(letter.letter.body)
    else:
        letters.show_one(letter)
    return 0


def replay(
    ids: Ids = None,
    *,
    where: Where = None,
    since: Since = None,
    handler: HandlerName = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="The oldest N.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    rate: Annotated[float | None, typer.Option(metavar="N", help="At most N messages per second.")] = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Change the body of one in $EDITOR; an empty file stops it.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    store: StorePath = None,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Publish dead letters again, for the handler that gave them up and no other.

    They go to its .retry topic on the nsqd that they came from, or on another that is named or known.
    """
    settings = options.settings(set_=set_, config=config, nsqd=nsqd, lookupd=lookupd, dead_store=_text(store))
    from nsqkit.dead_letters import replay as replaying
    from nsqkit.dead_letters.edit import edited
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.dead_letters.store import Store
    from nsqkit.errors import SettingsError
    from nsqkit.telemetry import logs

    if rate is not None and not 0 < rate < float("inf"):
        raise SettingsError(f"--rate {rate:g}: give messages per second, above 0")
    meant = _filters(ids=ids, where=where, since=since, handler=handler)
    logs.configure(settings)
    with Store(Path(settings.dead_store)) as found:
        chosen = _chosen(found, meant, limit=limit, again=again)
        if edit and (dry_run or len(chosen) != 1):
            raise SettingsError("--edit changes one dead letter: give one ID, and no --dry-run")
        plan = replaying.plan(chosen, found)
        for target, count in plan.items():
            if dry_run:
                typer.echo(f"{_many(count)} would go to {target.topic} on nsqd {target.nsqd}")
        if dry_run or not chosen:
            return 0
        topics = ", ".join(sorted({target.topic for target in plan}))
        if len(chosen) > 1 and not _agreed(f"replay {_many(len(chosen))} to {topics}", yes=yes):
            return 1
        body = edited(next(found.find(Filters(ids=tuple(chosen)))).letter.body) if edit else None
        if edit and body is None:
            typer.echo("the file was left empty: nothing was published", err=True)
            return 1
        with _progress(len(chosen)) as on_progress:
            done = replaying.replay(
                chosen,
                found,
                settings,
                rate=rate,
                body=body,
                on_progress=on_progress,
                on_second_signal=ending.on_second_signal,
            )
    typer.echo(f"replayed {_many(done)} to {topics}")
    if done < len(chosen):
        typer.echo(f"stopped: {_many(len(chosen) - done)} not replayed", err=True)
    return 0 if done == len(chosen) else 1


def empty(
    ids: Ids = None,
    *,
    where: Where = None,
    since: Since = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE|TIME", help="Only what was given up before: 30d, or RFC 3339.")
    ] = None,
    handler: HandlerName = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    store: StorePath = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Delete dead letters from the store, for good."""
    settings = options.settings(set_=set_, config=config, dead_store=_text(store))
    from nsqkit.dead_letters.store import Store

    meant = _filters(ids=ids, where=where, since=since, older_than=older_than, handler=handler)
    with Store(Path(settings.dead_store)) as found:
        _check_there(meant.ids, found)
        chosen = found.ids(meant)
        if dry_run or not chosen:
            typer.echo(f"{_many(len(chosen))} would be deleted from {settings.dead_store}")
            return 0
        if not _agreed(f"delete {_many(len(chosen))} from {settings.dead_store} for good", yes=yes):
            return 1
        typer.echo(f"deleted {_many(found.remove(chosen))} from {settings.dead_store}")
    return 0


app = typer.Typer(
    help="Collect, list, show, replay and delete dead letters.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for _name, _command, _help in (
    ("collect", collect, "Take dead letters out of NSQ into a store."),
    ("ls", ls, "List dead letters, or count them in groups."),
    ("show", show, "Show one dead letter in full."),
    ("replay", replay, "Publish dead letters again, for their own handler."),
    ("empty", empty, "Delete dead letters from the store."),
):
    app.command(_name, short_help=_help)(_command)


def _filters(
    *,
    ids: Sequence[int] | None = None,
    where: Sequence[str] | None,
    since: str | None,
    handler: str | None,
    older_than: str | None = None,
) -> "Filters":
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


def _chosen(store: "Store", meant: "Filters", *, limit: int | None, again: bool) -> list[int]:
    """Return which dead letters to replay, and say which are left out."""
    from dataclasses import replace

    _check_there(meant.ids, store)
    fresh = replace(meant, is_fresh=not again)
    chosen = store.ids(fresh, limit=limit)
    left_out = store.count(meant) - store.count(fresh)
    if left_out:
        typer.echo(f"{_many(left_out)} left out, replayed before (--again replays them too)", err=True)
    if not chosen:
        typer.echo("there is nothing to replay")
    return chosen


def _check_there(ids: Sequence[int], store: "Store") -> None:
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.errors import SettingsError

    missing = set(ids) - set(store.ids(Filters(ids=tuple(ids)))) if ids else set()
    if missing:
        shown = ", ".join(map(str, sorted(missing)))
        raise SettingsError(f"there is no dead letter {shown} in {store.path}: `nsqkit dead ls` shows them")


def _agreed(what: str, *, yes: bool) -> bool:
    from nsqkit.errors import SettingsError

    if yes:
        return True
    if not sys.stdin.isatty():
        raise SettingsError(f"there is no terminal to ask on whether to {what}: give --yes")
    typer.echo(f"{what}? [y/N] ", nl=False, err=True)
    agreed = sys.stdin.readline().strip().lower() in {"y", "yes"}
    if not agreed:
        typer.echo("nothing was done", err=True)
    return agreed


@contextmanager
def _progress(count: int) -> Iterator[Callable[[int, int], None]]:
    if count == 1 or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("replay", total=count)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _many(count: int) -> str:
    return f"{count:,} dead letter{'' if count == 1 else 's'}"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
