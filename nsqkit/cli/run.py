"""`nsqkit run`: the handlers of some modules, until a signal or until all is handled."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nsqkit.cli import options


def run(
    modules: options.Modules,
    *,
    dev: Annotated[bool, typer.Option("--dev", help="Start the embedded broker, and use no other.")] = False,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    nsqd_http: options.NsqdHttp = None,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC=FILE", help="Publish JSON lines once all is subscribed; may be repeated."
        ),
    ] = None,
    exit_when_idle: Annotated[
        bool,
        typer.Option(
            "--exit-when-idle", help="End when the feeds are confirmed and nothing is left to handle."
        ),
    ] = False,
    admin_port: Annotated[
        int | None, typer.Option(metavar="PORT", help="Metrics and health; 0 for none. [default: 9464]")
    ] = None,
    app: options.App = None,
    set_: options.Set = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    log_success: Annotated[
        bool, typer.Option("--log-success", help="Log a line for each success too.")
    ] = False,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Run handlers. Ctrl-C or SIGTERM ends it, after the messages in hand."""
    settings = options.settings(
        set_=set_,
        app=app,
        config=config,
        nsqd=nsqd,
        lookupd=lookupd,
        nsqd_http=nsqd_http,
        admin_port=admin_port,
        log_format=log_format,
        log_level=log_level,
        log_success=log_success or None,
    )
    from nsqkit.policy.errors import SettingsError

    if not (dev or settings.nsqd or settings.lookupd):
        raise SettingsError(
            "no NSQ to consume from: choose --dev (embedded broker), --nsqd HOST:4150 or --lookupd HOST:4161"
        )
    if dev and (nsqd or lookupd or nsqd_http):
        raise SettingsError(
            "--dev uses the embedded broker only: leave out --nsqd, --lookupd and --nsqd-http, or --dev"
        )
    from nsqkit import signals
    from nsqkit.cli import tables
    from nsqkit.run import Run

    feeds = [
        (topic, Path(file))
        for topic, file in (options.pair("--feed", each, "TOPIC=FILE") for each in feed or ())
    ]
    work = Run(modules, settings, dev=dev, feeds=tuple(feeds), exit_when_idle=exit_when_idle)
    code = work.execute()
    typer.echo("", nl=sys.stdout.isatty())  # the terminal shows ^C at the start of the line
    tables.show(tables.summary(work.summary()))
    if work.left_behind:
        signals.end_at_once(code)
    return code
