"""`nsqkit publish`: publishes one message, or a file of messages, on a topic."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


@options.with_settings(options.NSQD, options.FILE)
def publish(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Topic to publish on.")],
    body: Annotated[str | None, typer.Argument(metavar="JSON", help="One message, as JSON.")] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with a JSON object on each line.")
    ] = None,
    rate: options.Rate = None,
    defer: Annotated[float, typer.Option(metavar="S", help="Let nsqd defer messages for S seconds.")] = 0.0,
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="MODULE",
            help="Create the channels of the module's handlers first; may be repeated.",
        ),
    ] = None,
    settings: "Settings",
) -> int:
    """Publish messages and wait until nsqd confirms each. Lines that cannot be sent are reported."""
    from nsqkit.errors import SettingsError
    from nsqkit.telemetry import logs

    if (body is None) == (file is None):
        raise SettingsError("give either one message as JSON, or --file FILE")
    if file is None and (rate is not None or for_):
        raise SettingsError("--rate and --for go with --file")
    options.checked_rate(rate)
    if not 0 <= defer <= settings.max_requeue_delay_s:
        longest_s = settings.max_requeue_delay_s
        raise SettingsError(f"--defer {defer:g} is not in 0..{longest_s:g} s (setting max_requeue_delay_s)")
    logs.configure_logs(settings)
    from nsqkit.cli.progress import progress
    from nsqkit.ops.publish import publish_file, publish_one

    if file is None:
        publish_one(topic, _checked(body or ""), settings, defer_s=defer)
        terminal.echo(f"published 1 message to {topic}")
        return 0
    with progress("publish", settings, in_bytes=True) as on_progress:
        report = publish_file(
            topic, file, settings, rate=rate, defer_s=defer, on_progress=on_progress, channels_for=for_ or ()
        )
    noun = "message" if report.published == 1 else "messages"
    terminal.echo(f"published {report.published} {noun} to {topic}, refused {len(report.refused)}")
    return 1 if report.refused else 0


def _checked(text: str) -> bytes:
    from nsqkit.errors import SettingsError
    from nsqkit.events.codec.formats import loads

    try:
        value = loads(text.encode())
    except ValueError as error:
        raise SettingsError(f"the message is not JSON: {error}; is it quoted for the shell?") from None
    if not isinstance(value, dict):
        raise SettingsError("the message is JSON, but not an object: events are objects")
    return text.encode()
