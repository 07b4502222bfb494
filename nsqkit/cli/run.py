"""`nsqkit run`: the handlers of some modules, until a signal or until all is handled; or anew and anew."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options

if TYPE_CHECKING:
    from nsqkit.process.run import Run
    from nsqkit.settings.settings import Settings


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
    reload: Annotated[
        bool, typer.Option("--reload", help="Run in a process that is replaced when a .py file changes.")
    ] = False,
    watch: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="With --reload: a folder to watch; may be repeated. [default: the working directory]",
        ),
    ] = None,
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
    debug: options.Debug = False,
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
    from nsqkit.errors import SettingsError

    if not (dev or settings.nsqd or settings.lookupd):
        raise SettingsError(
            "no NSQ to consume from: choose --dev (embedded broker), --nsqd HOST:4150 or --lookupd HOST:4161"
        )
    if dev and (nsqd or lookupd or nsqd_http):
        raise SettingsError(
            "--dev uses the embedded broker only: leave out --nsqd, --lookupd and --nsqd-http, or --dev"
        )
    if reload and exit_when_idle:
        raise SettingsError("--reload runs until Ctrl-C: leave out --exit-when-idle, or --reload")
    if watch and not reload:
        raise SettingsError("--watch goes with --reload")
    feeds = tuple(
        (topic, Path(file))
        for topic, file in (options.pair("--feed", each, "TOPIC=FILE") for each in feed or ())
    )
    if reload:
        return _reloading(modules, settings, watch or [Path.cwd()], dev=dev, feeds=feeds, debug=debug)
    from nsqkit.process.run import Run

    return _ended(Run(modules, settings, dev=dev, feeds=feeds, exit_when_idle=exit_when_idle))


def reloaded(
    link: Annotated[int, typer.Argument(metavar="DESCRIPTOR", help="To the process that started this one.")],
    *,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Run what another nsqkit says, when it says so. `nsqkit run --reload` starts it."""
    from nsqkit.ops.feed import subscriptions_of
    from nsqkit.process.child import ParentLink
    from nsqkit.process.run import Run
    from nsqkit.telemetry import logs

    with ParentLink(link) as parent:
        plan = parent.plan()
        logs.configure(plan.settings)
        if not parent.wait_turn(subscriptions_of(plan.targets, plan.settings)):
            return 0
        return _ended(Run(plan.targets, plan.settings))


def _reloading(
    modules: Sequence[str],
    settings: "Settings",
    folders: Sequence[Path],
    *,
    dev: bool,
    feeds: Sequence[tuple[str, Path]],
    debug: bool,
) -> int:
    from nsqkit.process.child import Plan
    from nsqkit.process.reload import Reload, watch

    command = [sys.executable, "-m", "nsqkit", "reloaded", *(["--debug"] if debug else [])]
    plan = Plan(tuple(modules), settings)
    return Reload(plan, command=command, changes=watch(folders), dev=dev, feeds=feeds).execute()


def _ended(work: "Run") -> int:
    """Run to the end, print what was done, and return the exit code."""
    from nsqkit.cli import tables

    code = work.execute(ending.on_second_signal)
    typer.echo("", nl=sys.stdout.isatty())  # the terminal shows ^C at the start of the line
    tables.show(tables.summary(work.summary()))
    if work.left_behind:
        ending.end_at_once(code)
    return code
