"""`nsqkit dead collect`: moves dead letters from NSQ into a store."""

from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options, terminal
from nsqkit.cli.dead.selection import counted

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@options.with_settings(options.STORE, options.NSQ, options.FILE, options.LOGGING)
def collect(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TOPIC/CHANNEL", help="Handlers whose dead letters to collect; `all`, or none, for all."
        ),
    ] = None,
    *,
    exit_when_idle: Annotated[
        bool, typer.Option("--exit-when-idle", help="End when no dead letter is left.")
    ] = False,
    settings: "Settings",
) -> int:
    """Move dead letters from NSQ into a store, until Ctrl-C. Each is finished after it is on the disk."""
    from nsqkit.dead_letters.backlog import wanted_topics
    from nsqkit.dead_letters.collect import collect as run
    from nsqkit.telemetry import logs

    topics = wanted_topics(sources or [])
    logs.configure_logs(settings)
    report = run(
        settings,
        topics=topics,
        exit_when_idle=exit_when_idle,
        on_second_signal=ending.on_second_signal,
    )
    for topic in sorted(report.missing):
        terminal.echo(f"no nsqd here has the topic {topic}: it has received no dead letter yet", err=True)
    again = f"; already stored: {counted(report.known)}" if report.known else ""
    terminal.echo(f"stored {counted(report.stored)} in {settings.dead_store}{again}")
    return 0
