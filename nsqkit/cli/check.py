"""`nsqkit check` and `nsqkit handlers`: what the handlers in some modules declare, without running them."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@options.with_settings(options.NSQ, options.APP, options.FILE)
def check(
    modules: options.Modules,
    *,
    connect: Annotated[
        bool, typer.Option("--connect", help="Also check that nsqd's limits allow the handlers' times.")
    ] = False,
    databases: Annotated[
        bool,
        typer.Option("--databases", help="Also check that no instance of a saga would lack its version."),
    ] = False,
    settings: "Settings",
) -> int:
    """Check handlers, or the file of a bridge, and list all problems. Connects only if asked to."""
    from nsqkit.errors import SettingsError
    from nsqkit.process.targets import is_bridge

    if is_bridge(modules):
        return _check_bridge(modules[0], settings, connect=connect)
    from nsqkit.loading.checks import short_retention
    from nsqkit.loading.dropped import dropped
    from nsqkit.loading.loader import load
    from nsqkit.loading.unread_settings import unread_settings

    specs = load(modules, settings).handlers
    for warning in unread_settings(settings):
        terminal.warn(warning)
    problems = [problem for spec in specs for problem in dropped(spec.handler)]
    problems += short_retention(specs, settings)
    if connect:
        if not (settings.nsqd or settings.lookupd):
            raise SettingsError("--connect needs an nsqd: give --nsqd HOST:4150 or --lookupd HOST:4161")
        from nsqkit.ops.limits import check_limits

        problems += check_limits(specs, settings)
    if databases and any(hasattr(spec.handler, "group") for spec in specs):
        from nsqkit.sql.saga.stranded import stranded

        problems += stranded(specs, settings)
    for problem in problems:
        terminal.echo(f"error: {problem}", err=True)
    if problems:
        return 1
    terminal.echo(f"ok: {len(specs)} handler{'s' if len(specs) > 1 else ''}, no problems")
    return 0


def _check_bridge(file: str, settings: "Settings", *, connect: bool) -> int:
    from pathlib import Path

    from nsqkit.process.targets import bridge_problems

    count, problems = bridge_problems(Path(file), settings, connect=connect)
    for problem in problems:
        terminal.echo(f"error: {problem}", err=True)
    if problems:
        return 1
    terminal.echo(f"ok: {count} route{'s' if count > 1 else ''}, no problems")
    return 0


@options.with_settings(options.APP, options.FILE)
def handlers(modules: options.Modules, *, json: options.Json = False, settings: "Settings") -> int:
    """Print what handlers declare: topic, channel, events, retry delays, timeout, concurrency."""
    from nsqkit.cli import tables
    from nsqkit.loading.describe import table
    from nsqkit.loading.loader import load

    rows = table(load(modules, settings).handlers, settings)
    if json:
        tables.show_json([asdict(row) for row in rows])
    else:
        tables.show(*map(tables.handler, rows))
    return 0
