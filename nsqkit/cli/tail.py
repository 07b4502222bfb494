"""`nsqkit tail`: the messages of a topic, as they come."""

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nsqkit.cli import ending, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from nsqkit.events.body import Body
    from nsqkit.nsq.message import Message


def tail(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="What to follow.")],
    *,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only such messages: type=order.created.v1, data.store=330; may be repeated, then all hold.",
        ),
    ] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after N messages.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines, with all that is known.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Show what looks like a secret, too.")] = False,
    nsqd: options.Nsqd = None,
    lookupd: options.Lookupd = None,
    nsqd_http: options.NsqdHttp = None,
    set_: options.Set = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
    debug: options.Debug = False,  # noqa: ARG001 - main() looks for it
) -> int:
    """Show messages as they come, on a channel of its own. Workers get all of theirs as before.

    A topic's first channel takes all that waits there, so a topic without a durable channel is refused.
    """
    settings = options.settings(
        set_=set_,
        config=config,
        nsqd=nsqd,
        lookupd=lookupd,
        nsqd_http=nsqd_http,
        log_format=log_format,
        log_level=log_level,
    )
    from nsqkit.ops.tail import tail as follow
    from nsqkit.telemetry import logs

    wanted = [options.pair("--where", each, "FIELD=VALUE") for each in where or ()]
    logs.configure(settings)
    show = _printer(wanted, count, _as_json if json else _as_line, raw=raw)
    follow(topic, settings, show, on_second_signal=ending.on_second_signal)
    return 0


def _printer(
    wanted: list[tuple[str, str]],
    count: int | None,
    render: "Callable[[Message, Body, bool], str]",
    *,
    raw: bool,
) -> "Callable[[Message], bool]":
    from nsqkit.events.body import Body

    printed = 0

    def show(message: "Message") -> bool:
        nonlocal printed
        body = Body.read(message.body)
        if all(body.has(path, text) for path, text in wanted):
            typer.echo(render(message, body if raw else body.redacted(), raw))
            printed += 1
        return count is None or printed < count

    return show


def _as_line(message: "Message", body: "Body", _raw: bool) -> str:
    from nsqkit.events.body import line

    time = _published(message).astimezone()
    kind = body.attribute("type") or (body.kind if body.kind != "json" else "-")
    about = line(body.attribute("id") or message.id.decode())[1:-1]
    head = typer.style(f"{time:%H:%M:%S}", dim=True)
    return f"{head} {typer.style(line(kind)[1:-1], fg='cyan')} {about} {line(body.content)}"


def _as_json(message: "Message", body: "Body", raw: bool) -> str:
    import json

    known = {
        "topic": message.topic,
        "nsqd": message.address,
        "message_id": message.id.decode(),
        "published": _published(message).isoformat().replace("+00:00", "Z"),
        "kind": body.kind,
        "body": body.value,
    }
    if raw and body.kind == "binary":
        known["base64"] = base64.b64encode(message.body).decode()
    return json.dumps(known)


def _published(message: "Message") -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=message.timestamp_ns // 1000)
