"""`nsqkit run`: runs the handlers of some modules until a signal, until idle, or again after each change."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nsqkit.cli import ending, options, terminal

if TYPE_CHECKING:
    from nsqkit.process.run import Run
    from nsqkit.settings.settings import Settings
    from nsqkit.telemetry.metrics import HandlerSummary

MAX_WORKERS: Final = 256
_Link = Annotated[
    int, typer.Argument(metavar="DESCRIPTOR", help="Connection to the process that started this one.")
]
RUN: options.Group = {
    "admin_port": Annotated[
        int | None,
        typer.Option(metavar="PORT", help="Port of metrics and health; 0 for none. [default: 9464]"),
    ],
    "log_success": Annotated[
        bool | None, typer.Option("--log-success", help="Log a line for each success, too.")
    ],
}


@options.with_settings(options.NSQ, RUN, options.APP, options.FILE, options.LOGGING)
def run(
    modules: options.Modules,
    *,
    dev: Annotated[bool, typer.Option("--dev", help="Start the embedded broker, and use no other.")] = False,
    feed: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TOPIC=FILE",
            help="Publish JSON lines after all handlers have subscribed; may be repeated.",
        ),
    ] = None,
    exit_when_idle: Annotated[
        bool,
        typer.Option("--exit-when-idle", help="End when all feeds are confirmed and no message is left."),
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart the handlers when a .py file changes.")
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
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MAX_WORKERS, help="Run the handlers in N processes."),
    ] = None,
    nsqd: Sequence[str] | None,
    lookupd: Sequence[str] | None,
    nsqd_http: Sequence[str] | None,
    debug: bool,
    settings: "Settings",
) -> int:
    """Run handlers. Ctrl-C or SIGTERM ends it, after the messages in flight."""
    from nsqkit.telemetry import logs

    logs.configure_logs(settings)  # before any import that may warn
    check_nsq(settings, dev=dev, has_nsq_options=bool(nsqd or lookupd or nsqd_http))
    _check_reload(reload=reload, exit_when_idle=exit_when_idle, watch=watch, workers=workers)
    pairs = [options.pair("--feed", each, "TOPIC=FILE") for each in feed or ()]
    feeds = tuple((topic, Path(file)) for topic, file in pairs)
    if reload:
        return _reloading(modules, settings, watch or [Path.cwd()], dev=dev, feeds=feeds, debug=debug)
    if workers:
        given = {"dev": dev, "feeds": feeds, "exit_when_idle": exit_when_idle}
        return supervised(modules, settings, workers, debug=debug, **given)
    return single(modules, settings, dev=dev, feeds=feeds, exit_when_idle=exit_when_idle)


def reloaded(
    link: _Link,
    *,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Run handlers for another nsqkit, when it gives the sign. `nsqkit run --reload` starts it."""
    from nsqkit.process.child import ParentLink
    from nsqkit.process.run import Run
    from nsqkit.process.targets import subscriptions_of
    from nsqkit.telemetry import logs

    with ParentLink(link) as parent:
        plan = parent.plan()
        logs.configure_logs(plan.settings)
        if not parent.wait_turn(subscriptions_of(plan.targets, plan.settings)):
            return 0
        return _ended(Run(plan.targets, plan.settings))


def child(
    link: _Link,
    *,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Run handlers for another nsqkit, which asks for their state. `nsqkit run --workers` starts it."""
    from nsqkit.process.child import ParentLink
    from nsqkit.process.child_run import ChildRun, leave_signals_to_parent
    from nsqkit.process.targets import subscriptions_of
    from nsqkit.telemetry import logs

    leave_signals_to_parent()
    with ParentLink(link) as parent:
        plan = parent.plan()
        logs.configure_logs(plan.settings)
        logs.add_to_every_line(worker=plan.number)
        if not parent.wait_turn(subscriptions_of(plan.targets, plan.settings)):
            return 0
        work = ChildRun(plan, parent)
        code = work.run()
        if work.left_behind:
            ending.end_at_once(code)
        return code


def check_nsq(settings: "Settings", *, dev: bool, has_nsq_options: bool) -> None:
    """Refuse to run without NSQ, or with two kinds of it.

    Raises:
        SettingsError: If neither nsqd nor nsqlookupd is set, or --dev is given with one.
    """
    from nsqkit.errors import SettingsError

    if not (dev or settings.nsqd or settings.lookupd):
        raise SettingsError(
            "no NSQ to consume from: choose --dev (embedded broker), --nsqd HOST:4150 or --lookupd HOST:4161"
        )
    if dev and has_nsq_options:
        raise SettingsError(
            "--dev uses the embedded broker only: leave out --nsqd, --lookupd and --nsqd-http, or --dev"
        )


def _check_reload(
    *, reload: bool, exit_when_idle: bool, watch: Sequence[Path] | None, workers: int | None
) -> None:
    from nsqkit.errors import SettingsError

    if reload and workers:
        raise SettingsError("--reload runs one process: leave out --workers, or --reload")

    if reload and exit_when_idle:
        raise SettingsError("--reload runs until Ctrl-C: leave out --exit-when-idle, or --reload")
    if watch and not reload:
        raise SettingsError("--watch goes with --reload")


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

    plan = Plan(tuple(modules), settings)
    command = _child_command("reloaded", debug=debug)
    return Reload(plan, command=command, changes=watch(folders), dev=dev, feeds=feeds).execute()


def single(targets: Sequence[str], settings: "Settings", **given: Any) -> int:
    """Run in this process to the end, print the summary, and return the exit code.

    Args:
        targets: Modules, or the file of a bridge.
        settings: Settings of the worker.
        given: Further arguments of ``Run``.
    """
    from nsqkit.process.run import Run

    return _ended(Run(targets, settings, **given))


def supervised(
    targets: Sequence[str], settings: "Settings", workers: int, *, debug: bool, **given: Any
) -> int:
    """Run in child processes to the end, print the summary, and return the exit code.

    Args:
        targets: Modules, or the file of a bridge.
        settings: Settings of the workers.
        workers: Number of child processes.
        debug: Whether they show the traceback of an error.
        given: Further arguments of ``Supervisor``.
    """
    from nsqkit.process.child import Plan
    from nsqkit.process.supervisor import Supervisor

    command = _child_command("child", debug=debug)
    supervisor = Supervisor(Plan(tuple(targets), settings), workers, command=command, **given)
    code = supervisor.execute(ending.on_second_signal)
    _show(supervisor.summary())
    return code


def _child_command(name: str, *, debug: bool) -> list[str]:
    return [sys.executable, "-m", "nsqkit", name, *(["--debug"] if debug else [])]


def _ended(work: "Run") -> int:
    """Run to the end, print the summary, and return the exit code."""
    code = work.execute(ending.on_second_signal)
    _show(work.summary())
    if work.left_behind:
        ending.end_at_once(code)
    return code


def _show(rows: "Sequence[HandlerSummary]") -> None:
    from nsqkit.cli import tables

    terminal.echo("", nl=sys.stdout.isatty())  # the terminal shows ^C at the start of the line
    tables.show(tables.summary(rows))
