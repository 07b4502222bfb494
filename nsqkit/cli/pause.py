"""`nsqkit pause` and `nsqkit resume`: for a channel on every nsqd, or a handler of one worker."""

from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.ops.pause import Command
    from nsqkit.settings.settings import Settings

_Topic = Annotated[str | None, typer.Argument(metavar="TOPIC", help="Topic of the channel.")]
_Channel = Annotated[str | None, typer.Argument(metavar="CHANNEL", help="Channel to pause or resume.")]
_Handler = Annotated[
    str | None, typer.Option(metavar="NAME", help="Pause or resume a handler of one worker, not a channel.")
]
_Worker = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="The worker's admin port. [default: settings admin_host, admin_port]"
    ),
]


@options.with_settings(options.NSQ, options.FILE)
def pause(
    topic: _Topic = None,
    channel: _Channel = None,
    *,
    handler: _Handler = None,
    worker: _Worker = None,
    for_: Annotated[
        float | None,
        typer.Option("--for", metavar="S", help="Resume the handler automatically after S seconds."),
    ] = None,
    settings: "Settings",
) -> int:
    """Pause a channel for all its consumers, or one handler of one worker.

    Messages wait in nsqd until `nsqkit resume`. A channel is paused on every nsqd that you name or that
    nsqlookupd knows, and stays paused when nsqd restarts. A handler is paused in one worker, until the worker
    restarts.
    """
    _check_choice(topic, channel, handler, has_options=worker is not None or for_ is not None)
    if handler is not None:
        return _handler("pause", handler, worker, for_, settings)
    return _channel("pause", topic or "", channel or "", settings)


@options.with_settings(options.NSQ, options.FILE)
def resume(
    topic: _Topic = None,
    channel: _Channel = None,
    *,
    handler: _Handler = None,
    worker: _Worker = None,
    settings: "Settings",
) -> int:
    """Resume a channel or a handler that was paused."""
    _check_choice(topic, channel, handler, has_options=worker is not None)
    if handler is not None:
        return _handler("resume", handler, worker, None, settings)
    return _channel("resume", topic or "", channel or "", settings)


def _check_choice(topic: str | None, channel: str | None, handler: str | None, *, has_options: bool) -> None:
    from nsqkit.errors import SettingsError

    if handler is not None and topic is not None:
        raise SettingsError("give either TOPIC CHANNEL or --handler NAME, not both")
    if handler is None and channel is None:
        raise SettingsError("give TOPIC CHANNEL, or --handler NAME")
    if handler is None and has_options:
        raise SettingsError("--worker and --for go with --handler; nsqd pauses a channel until it is resumed")


def _channel(command: "Command", topic: str, channel: str, settings: "Settings") -> int:
    from nsqkit.ops.pause import send_to_nsqd

    report = send_to_nsqd(command, topic, channel, settings)
    for address in report.addresses:
        terminal.echo(f"{command}d {topic}/{channel} on nsqd {address}")
    problems = list(report.problems)
    if report.without and not report.addresses:
        problems.append(f"there is no channel {topic}/{channel} on nsqd {', '.join(report.without)}")
    for problem in problems:
        terminal.echo(f"error: {problem}", err=True)
    return 1 if problems else 0


def _handler(
    command: "Command", handler: str, worker: str | None, for_s: float | None, settings: "Settings"
) -> int:
    from nsqkit.ops.pause import send_to_worker
    from nsqkit.policy.address import join_address
    from nsqkit.settings.secret import secret_of

    address = worker or join_address(settings.admin_host, settings.admin_port)
    token = secret_of(settings, "admin_token") or ""
    shown = send_to_worker(command, handler, address, for_s, token=token)
    state = str(shown["state"]).replace("_", " ")
    terminal.echo(f"{command}d {handler} on worker {address}: {state}, holds {shown['held']}")
    return 0
