"""`nsqkit tail`: shows the messages of a topic as they arrive."""

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from nsqkit.events.body import Body
    from nsqkit.loading.readers import Readers
    from nsqkit.nsq.message import Message
    from nsqkit.settings.settings import Settings


@options.with_settings(options.NSQ, options.FILE, options.LOGGING)
def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Topic to follow.")],
    *,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Show only messages with type=order.created.v1 or data.store=330, for example. "
            "If repeated, all conditions must hold.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after N messages.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines with all details.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Do not mask what looks like a secret.")] = False,
    settings: "Settings",
) -> int:
    """Show messages as they arrive, on a separate channel. Workers still receive all of theirs.

    A topic's first channel takes the whole backlog, so a topic without a durable channel is refused.
    """
    from nsqkit.loading.readers import Readers
    from nsqkit.ops.tail import tail as follow
    from nsqkit.telemetry import logs

    wanted = [options.pair("--where", each, "FIELD=VALUE") for each in where or ()]
    logs.configure_logs(settings)
    readers = Readers(settings, terminal.warn)
    show = _printer(wanted, count, _as_json if json else _as_line, readers, raw=raw)
    follow(topic, settings, show, on_second_signal=ending.on_second_signal)
    return 0


def _printer(
    wanted: list[tuple[str, str]],
    count: int | None,
    render: "Callable[[Message, Body, bool], str]",
    readers: "Readers",
    *,
    raw: bool,
) -> "Callable[[Message], bool]":
    printed = 0

    def show(message: "Message") -> bool:
        nonlocal printed
        body = readers.body(message.body, message.topic)
        if all(body.has(path, text) for path, text in wanted):
            terminal.echo_styled(render(message, body if raw else body.redacted(), raw))
            printed += 1
        return count is None or printed < count

    return show


def _as_line(message: "Message", body: "Body", _raw: bool) -> str:
    from nsqkit.events.body import line

    time = _published(message).astimezone()
    kind = body.attribute("type") or (body.kind if body.kind != "json" else "-")
    about = line(body.attribute("id") or message.id.decode())[1:-1]
    head = terminal.style(f"{time:%H:%M:%S}", dim=True)
    return f"{head} {terminal.style(line(kind)[1:-1], fg='cyan')} {about} {line(body.content)}"


def _as_json(message: "Message", body: "Body", raw: bool) -> str:
    import json

    from nsqkit.events import rfc3339

    known = {
        "topic": message.topic,
        "nsqd": message.address,
        "message_id": message.id.decode(),
        "published": rfc3339.from_ns(message.timestamp_ns // 1000 * 1000),
        "kind": body.kind,
        "body": body.value,
    }
    if raw and body.kind == "binary":
        known["base64"] = base64.b64encode(message.body).decode()
    return json.dumps(known)


def _published(message: "Message") -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=message.timestamp_ns // 1000)
