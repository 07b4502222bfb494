"""`nsqkit relay`: publishes the events of an outbox that the process which wrote them has not published."""

from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@options.with_settings(options.NSQD, options.APP, options.FILE, options.LOGGING)
def relay(
    name: Annotated[str, typer.Argument(metavar="NAME", help='Name of the database, as in Database("…").')],
    *,
    admin_port: Annotated[
        int,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Port of metrics and health; 0 for none. [default: none]"
        ),
    ] = 0,
    exit_when_idle: Annotated[
        bool, typer.Option("--exit-when-idle", help="End when no event waits.")
    ] = False,
    settings: "Settings",
) -> int:
    """Publish waiting events of a database's outbox, until Ctrl-C. Several relays share the work."""
    from nsqkit.ops.relay import relay as run
    from nsqkit.telemetry import logs

    logs.configure_logs(settings)
    swept = run(
        name,
        settings,
        admin_port=admin_port,
        exit_when_idle=exit_when_idle,
        on_second_signal=ending.on_second_signal,
    )
    terminal.echo(f"published {swept.sent}, parked {swept.parked}, not confirmed {swept.failed}")
    return 0
