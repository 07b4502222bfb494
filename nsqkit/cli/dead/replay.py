"""`nsqkit dead replay`: publishes dead letters again, for the handler that gave them up."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options, terminal
from nsqkit.cli.dead import selection
from nsqkit.cli.dead.selection import counted

if TYPE_CHECKING:
    from collections import Counter

    from nsqkit.dead_letters.filters import Filters
    from nsqkit.dead_letters.replay import Target
    from nsqkit.dead_letters.store import Store
    from nsqkit.settings.settings import Settings


@options.with_settings(options.STORE, options.NSQD, options.FILE)
def replay(
    ids: selection.Ids = None,
    *,
    where: selection.Where = None,
    since: selection.Since = None,
    handler: selection.HandlerName = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="The oldest N.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also select those that were replayed before.")
    ] = False,
    rate: options.Rate = None,
    edit: Annotated[
        bool, typer.Option("--edit", help="Edit the body of one in $EDITOR; an empty file cancels.")
    ] = False,
    dry_run: selection.DryRun = False,
    yes: selection.Yes = False,
    settings: "Settings",
) -> int:
    """Publish dead letters again, only for the handler that gave them up.

    They are published on its .retry topic, on the nsqd that they came from. If that cannot be reached,
    another nsqd is used that you name or that nsqlookupd knows.
    """
    from nsqkit.dead_letters.replay import plan
    from nsqkit.dead_letters.store import Store
    from nsqkit.errors import SettingsError
    from nsqkit.telemetry import logs

    options.checked_rate(rate)
    filters = selection.filters(ids=ids, where=where, since=since, handler=handler)
    logs.configure_logs(settings)
    with Store(Path(settings.dead_store)) as store:
        chosen = _chosen(store, filters, limit=limit, again=again)
        if edit and (dry_run or len(chosen) != 1):
            raise SettingsError("--edit changes one dead letter: give one ID, and no --dry-run")
        targets = plan(chosen, store)
        if dry_run:
            _show_plan(targets)
        if dry_run or not chosen:
            return 0
        topics = ", ".join(sorted({target.topic for target in targets}))
        if len(chosen) > 1 and not selection.confirmed(f"replay {counted(len(chosen))} to {topics}", yes=yes):
            return 1
        body = _edited(chosen[0], store, settings) if edit else None
        if edit and body is None:
            terminal.echo("the file was left empty: nothing was published", err=True)
            return 1
        return _publish(chosen, store, settings, rate=rate, body=body, topics=topics)


def _chosen(store: "Store", filters: "Filters", *, limit: int | None, again: bool) -> list[int]:
    """Return which dead letters to replay, and print how many are left out."""
    from dataclasses import replace

    selection.check_exist(filters.ids, store)
    fresh = replace(filters, is_fresh=not again)
    chosen = store.ids(fresh, limit=limit)
    left_out = store.count(filters) - store.count(fresh)
    if left_out:
        terminal.echo(f"{counted(left_out)} left out, replayed before (--again replays them too)", err=True)
    if not chosen:
        terminal.echo("there is nothing to replay")
    return chosen


def _show_plan(targets: "Counter[Target]") -> None:
    for target, count in targets.items():
        where = f"nsqd {target.nsqd}" if target.nsqd else "any nsqd"
        terminal.echo(f"{counted(count)} would go to {target.topic} on {where}")


def _edited(number: int, store: "Store", settings: "Settings") -> bytes | None:
    from nsqkit.dead_letters.edit import edited
    from nsqkit.dead_letters.filters import Filters
    from nsqkit.loading.readers import Readers

    (stored,) = store.find(Filters(ids=(number,)))
    letter = stored.letter
    draft = Readers(settings, terminal.warn).draft(letter.body, letter.topic, letter.channel)
    return edited(letter.body, draft)


def _publish(
    chosen: Sequence[int],
    store: "Store",
    settings: "Settings",
    *,
    rate: float | None,
    body: bytes | None,
    topics: str,
) -> int:
    from nsqkit.cli.progress import progress
    from nsqkit.dead_letters import replay as replaying

    with progress("replay", settings, total=len(chosen)) as on_progress:
        done = replaying.replay(
            chosen,
            store,
            settings,
            rate=rate,
            body=body,
            on_progress=on_progress,
            on_second_signal=ending.on_second_signal,
        )
    terminal.echo(f"replayed {counted(done)} to {topics}")
    if done < len(chosen):
        terminal.echo(f"stopped: {counted(len(chosen) - done)} not replayed", err=True)
    return 0 if done == len(chosen) else 1
