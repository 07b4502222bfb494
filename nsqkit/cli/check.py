"""`nsqkit check` and `nsqkit handlers`: what some modules define, without running it."""

from dataclasses import asdict
from typing import Annotated

import typer

from nsqkit.cli import options


def check(
    modules: options.Modules,
    *,
    connect: Annotated[
        bool, typer.Option("--connect", help="Compare policies with the limits of the nsqd it reaches, too.")
    ] = False,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    nsqd_http: options.NsqdHttp = None,
    app: options.App = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Check handlers. All problems are listed at once; nothing connects unless told to."""
    settings = options.settings(
        set_=set_, app=app, config=config, nsqd=nsqd, lookupd=lookupd, nsqd_http=nsqd_http
    )
    from nsqkit.errors import SettingsError
    from nsqkit.loading.loader import load

    specs = load(modules, settings).handlers
    if connect:
        if not (settings.nsqd or settings.lookupd):
            raise SettingsError("--connect needs an nsqd: give --nsqd HOST:4150 or --lookupd HOST:4161")
        from nsqkit.ops.limits import check_limits

        if problems := check_limits(specs, settings):
            for problem in problems:
                typer.echo(f"error: {problem}", err=True)
            return 1
    typer.echo(f"ok: {len(specs)} handler{'s' if len(specs) > 1 else ''}, no problems")
    return 0


def handlers(
    modules: options.Modules,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    app: options.App = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Print what handlers do: topic, channel, events, retry delays, timeout, concurrency."""
    settings = options.settings(set_=set_, app=app, config=config)
    from nsqkit.cli import tables
    from nsqkit.loading.describe import table
    from nsqkit.loading.loader import load

    rows = table(load(modules, settings).handlers, settings)
    if json:
        tables.show_json([asdict(row) for row in rows])
    else:
        tables.show(*map(tables.handler, rows))
    return 0
