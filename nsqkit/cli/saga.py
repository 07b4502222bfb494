"""`nsqkit saga`: the instances of sagas in a database, their timelines, and what a person may ask of them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nsqkit.cli import options, terminal

if TYPE_CHECKING:
    from nsqkit.settings.settings import Settings
    from nsqkit.sql.saga.store import Instance

Name = Annotated[str, typer.Argument(metavar="NAME", help='Name of the database, as in Database("…").')]
Saga = Annotated[str, typer.Argument(metavar="SAGA", help="Name of the saga.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of the instance.")]

_COLOURS = {"completed": "green", "compensated": "yellow", "needs_attention": "red"}

app = typer.Typer(
    help="List instances of sagas, show their timelines, resume or compensate them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@options.with_settings(options.APP, options.FILE)
def ls(
    name: Name,
    *,
    saga: Annotated[str, typer.Option("--saga", help="Only instances of this saga.")] = "",
    status: Annotated[
        str, typer.Option("--status", help="Only instances with this status, such as needs_attention.")
    ] = "",
    most: Annotated[int, typer.Option("--most", min=1, help="Most instances to list.")] = 100,
    json: options.Json = False,
    settings: "Settings",
) -> int:
    """List the instances of sagas in a database, those that changed last first."""
    from nsqkit.cli import tables
    from nsqkit.sql.saga.instances import instances

    found = instances(name, settings, saga=saga, status=status, most=most)
    if json:
        tables.show_json([_plain(each) for each in found])
        return 0
    for each in found:
        reason = f"  {each.progress.reason}" if each.progress.reason else ""
        state = terminal.style(str(each.progress.status), fg=_COLOURS.get(each.progress.status))
        place = terminal.style(f"{each.saga}  {each.key}  v{each.version}{reason}")
        terminal.echo_styled(terminal.style(_time(each.changed_at)), f"{state} ", place)
    terminal.echo(f"instances: {len(found)}")
    return 0


@options.with_settings(options.APP, options.FILE)
def show(name: Name, saga: Saga, key: Key, *, json: options.Json = False, settings: "Settings") -> int:
    """Show one instance: its state, and its timeline from the first step on."""
    from nsqkit.cli import tables
    from nsqkit.sql.saga.instances import instance

    found = instance(name, settings, saga, key)
    if json:
        tables.show_json({**_plain(found), "notes": [[note.at_s, note.text] for note in found.notes]})
        return 0
    terminal.echo(f"{found.saga} {found.key}, version {found.version}: {found.progress.status}")
    terminal.echo(f"state: {found.state}")
    terminal.echo(f"correlationid: {found.correlation_id}")
    if found.progress.due_s is not None:
        terminal.echo(f"next at: {_time(found.progress.due_s)}, attempt {found.progress.attempts}")
    terminal.echo(f"\n{_time(found.started_at)}")
    for index, note in enumerate(found.notes):
        terminal.echo_styled(*_line(note.text, note.at_s - found.started_at, index == len(found.notes) - 1))
    return 0


@options.with_settings(options.APP, options.FILE)
def resume(name: Name, saga: Saga, key: Key, *, settings: "Settings") -> int:
    """Let an instance that needs attention try its present action again, with all of its attempts."""
    from nsqkit.sql.saga.instances import ask

    ask(name, settings, saga, key, "resume")
    terminal.echo(f"asked {saga} {key} to resume; a relay delivers it")
    return 0


@options.with_settings(options.APP, options.FILE)
def compensate(
    name: Name,
    saga: Saga,
    key: Key,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, in one line.")] = "",
    settings: "Settings",
) -> int:
    """Undo all steps of a running or completed instance, in reverse order."""
    from nsqkit.sql.saga.instances import ask

    ask(name, settings, saga, key, "compensate", reason=reason)
    terminal.echo(f"asked {saga} {key} to compensate; a relay delivers it")
    return 0


def _line(text: str, after_s: float, is_last: bool) -> tuple[str, str, str]:
    from nsqkit.policy.saga_notes import NoteKind, kind_of

    is_bad = kind_of(text) in {NoteKind.BAD, NoteKind.ATTENTION}
    mark = "✗" if is_bad else "●"
    branch = "└" if is_last else "├"
    colour: dict[str, Any] = {"fg": "red"} if is_bad else {}
    return terminal.style(f"{after_s:+10.3f} s"), f"{branch}{mark}", terminal.style(text, **colour)


def _plain(instance: "Instance") -> dict[str, object]:
    progress = instance.progress
    return {
        "saga": instance.saga,
        "key": instance.key,
        "version": instance.version,
        "status": str(progress.status),
        "reason": progress.reason,
        "correlation_id": instance.correlation_id,
        "owner": instance.owner,
        "due_at": progress.due_s,
        "state": instance.state,
        "started_at": instance.started_at,
        "changed_at": instance.changed_at,
    }


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


for _name, _command, _help in (
    ("ls", ls, "List the instances of sagas in a database."),
    ("show", show, "Show the state and the timeline of an instance."),
    ("resume", resume, "Let an instance that needs attention go on."),
    ("compensate", compensate, "Undo all steps of an instance."),
):
    app.command(_name, short_help=_help)(_command)
