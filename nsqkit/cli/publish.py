"""`nsqkit publish`: one message or a file of them to a topic, each confirmed by nsqd."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import options

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings


def publish(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Where to.")],
    body: Annotated[str | None, typer.Argument(metavar="JSON", help="One message, as JSON.")] = None,
    *,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with a JSON object on each line.")
    ] = None,
    rate: Annotated[float | None, typer.Option(metavar="N", help="At most N messages per second.")] = None,
    defer: Annotated[float, typer.Option(metavar="S", help="Let nsqd hold them back for S seconds.")] = 0.0,
    for_: Annotated[
        list[str] | None,
        typer.Option(
            "--for", metavar="MODULE", help="Make the channels of its handlers first; may be repeated."
        ),
    ] = None,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    set_: options.Set = None,
    config: options.Config = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Publish messages. Each one is confirmed by nsqd; a line that cannot be sent is named."""
    settings = options.settings(set_=set_, config=config, nsqd=nsqd, lookupd=lookupd)
    from nsqkit.errors import SettingsError
    from nsqkit.telemetry import logs

    if (body is None) == (file is None):
        raise SettingsError("give either one message as JSON, or --file FILE")
    if file is None and (rate is not None or for_):
        raise SettingsError("--rate and --for go with --file")
    if rate is not None and not 0 < rate < float("inf"):
        raise SettingsError(f"--rate {rate:g}: give messages per second, above 0")
    if not 0 <= defer <= settings.max_requeue_delay_s:
        longest_s = settings.max_requeue_delay_s
        raise SettingsError(f"--defer {defer:g} is not in 0..{longest_s:g} s (setting max_requeue_delay_s)")
    logs.configure(settings)
    from nsqkit.ops.publish import publish_file, publish_one

    if file is None:
        publish_one(topic, _checked(body or ""), settings, defer_s=defer)
        typer.echo(f"published 1 message to {topic}")
        return 0
    with _progress(settings) as on_progress:
        report = publish_file(
            topic, file, settings, rate=rate, defer_s=defer, on_progress=on_progress, channels_for=for_ or ()
        )
    noun = "message" if report.published == 1 else "messages"
    typer.echo(f"published {report.published} {noun} to {topic}, refused {len(report.refused)}")
    return 1 if report.refused else 0


def _checked(text: str) -> bytes:
    from nsqkit.errors import SettingsError
    from nsqkit.events.codec import loads

    try:
        value = loads(text.encode())
    except ValueError as error:
        raise SettingsError(f"the message is not JSON: {error}; is it in quotes, for the shell?") from None
    if not isinstance(value, dict):
        raise SettingsError("the message is JSON, but no object: events are objects")
    return text.encode()


@contextmanager
def _progress(settings: "Settings") -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from nsqkit.telemetry import logs

    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        logs.configure(settings)  # again: lines now go above the bar
        task = progress.add_task("publish", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
