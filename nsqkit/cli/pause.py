"""`nsqkit pause` and `nsqkit resume`: a channel at every nsqd, or a handler of one worker."""

from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options

if TYPE_CHECKING:
    from nsqkit.ops.pause import Command
    from nsqkit.settings.settings import Settings

_Topic = Annotated[str | None, typer.Argument(metavar="TOPIC", help="The topic.")]
_Channel = Annotated[str | None, typer.Argument(metavar="CHANNEL", help="Its channel.")]
_Handler = Annotated[
    str | None, typer.Option(metavar="NAME", help="A handler of one worker, instead of a channel.")
]
_Worker = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="The worker's admin port. [default: settings admin_host, admin_port]"
    ),
]


def pause(
    topic: _Topic = None,
    channel: _Channel = None,
    *,
    handler: _Handler = None,
    worker: _Worker = None,
    for_: Annotated[
        float | None,
        typer.Option("--for", metavar="S", help="Resume the handler by itself after S seconds."),
    ] = None,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    nsqd_http: options.NsqdHttp = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Stop the delivery of a channel to all its consumers, or of one worker's handler.

    Messages wait in nsqd until `nsqkit resume`. A channel is paused at every nsqd that is named or known; a
    restart of nsqd keeps it paused. A handler is paused in one worker only, and runs again when that does.
    """
    settings = options.settings(set_=set_, config=config, nsqd=nsqd, lookupd=lookupd, nsqd_http=nsqd_http)
    _check_choice(topic, channel, handler, has_options=worker is not None or for_ is not None)
    if handler is not None:
        return _handler("pause", handler, worker, for_, settings)
    return _channel("pause", topic or "", channel or "", settings)


def resume(
    topic: _Topic = None,
    channel: _Channel = None,
    *,
    handler: _Handler = None,
    worker: _Worker = None,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    nsqd_http: options.NsqdHttp = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Go on with a channel or a handler that was paused."""
    settings = options.settings(set_=set_, config=config, nsqd=nsqd, lookupd=lookupd, nsqd_http=nsqd_http)
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
    from nsqkit.ops.pause import tell_nsqd

    told = tell_nsqd(command, topic, channel, settings)
    for address in told.addresses:
        typer.echo(f"{command}d {topic}/{channel} on nsqd {address}")
    problems = list(told.problems)
    if told.without and not told.addresses:
        problems.append(f"there is no channel {topic}/{channel} on nsqd {', '.join(told.without)}")
    for problem in problems:
        typer.echo(f"error: {problem}", err=True)
    return 1 if problems else 0


def _handler(
    command: "Command", handler: str, worker: str | None, for_s: float | None, settings: "Settings"
) -> int:
    from nsqkit.ops.pause import tell_worker
    from nsqkit.policy.address import join_address

    address = worker or join_address(settings.admin_host, settings.admin_port)
    shown = tell_worker(command, handler, address, for_s)
    state = str(shown["state"]).replace("_", " ")
    typer.echo(f"{command}d {handler} on worker {address}: {state}, holds {shown['held']}")
    return 0
