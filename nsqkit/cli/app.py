"""The command tree, and the one place where errors become lines and exit codes. Commands are elsewhere."""

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Annotated, TextIO

import typer

from nsqkit.cli import (
    bridge,
    broker,
    check,
    config,
    db,
    new,
    outbox,
    pause,
    publish,
    relay,
    run,
    saga,
    status,
    tail,
    terminal,
)
from nsqkit.cli.dead.app import app as dead
from nsqkit.cli.top.command import top
from nsqkit.errors import (
    BridgeError,
    EventError,
    FeedError,
    HandlerError,
    NsqkitError,
    PublishError,
    SettingsError,
)
from nsqkit.policy.redaction import redact_whole

FAILED = 1
WRONG_USE = 2
INTERRUPTED = 130

app = typer.Typer(
    name="nsqkit",
    help="Run, check and feed message handlers on NSQ.",
    epilog="Exit codes: 0 clean, 1 failed, 2 wrong use: correct the command, a setting or a handler.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
_EPILOGS = {"bridge": bridge.EXAMPLE}
for _name, _command, _help in (
    ("run", run.run, "Run handlers until Ctrl-C, or until all messages are handled."),
    ("bridge", bridge.bridge, "Carry messages between NSQ and Kafka or RabbitMQ."),
    ("new", new.new, "Write a handler module and its test as a starting point."),
    ("check", check.check, "Check handlers and list all their problems."),
    ("handlers", check.handlers, "Print topic, channel, events and retry delays of handlers."),
    ("publish", publish.publish, "Publish a message, or a file of them, confirmed by nsqd."),
    ("tail", tail.tail, "Show the messages of a topic as they arrive."),
    ("status", status.status, "Print depth, in flight, pauses and clients of the handlers' channels."),
    ("top", top, "Show live which handler fails, why, since when, and whether it is saturation."),
    ("pause", pause.pause, "Pause a channel, or one handler of one worker."),
    ("resume", pause.resume, "Resume a channel or a handler that was paused."),
    ("relay", relay.relay, "Publish the waiting events of a database's outbox."),
    ("broker", broker.broker, "Run the embedded broker alone, for development."),
    ("config", config.config, "Print every setting and where its value came from."),
    ("version", config.version, "Print the version."),
):
    app.command(_name, short_help=_help, epilog=_EPILOGS.get(_name))(_command)
app.add_typer(dead, name="dead", short_help="Collect, list, show, replay and delete dead letters.")
app.add_typer(db.app, name="db", short_help="Create and upgrade nsqkit's tables in a database of handlers.")
app.add_typer(outbox.app, name="outbox", short_help="List and replay parked events of an outbox.")
app.add_typer(saga.app, name="saga", short_help="List, show, resume and compensate instances of sagas.")
app.command("reloaded", hidden=True)(run.reloaded)
app.command("child", hidden=True)(run.child)


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=config.print_version, help="Same as `nsqkit version`."
        ),
    ] = False,
) -> None:
    """Run, check and feed message handlers on NSQ."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: The arguments after the program's name; None for those of this process.

    Returns:
        0 on success, 1 if the work failed, 2 if the command, a setting or a handler must be corrected,
        130 after Ctrl-C in a command that does not end that way normally.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning  # for good: Python warns of some things only when it exits
    try:
        code = app(given, prog_name="nsqkit", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 - this is where every error ends
        if "--debug" in given and not isinstance(error, typer.TyperException):
            terminal.echo(redact_whole(traceback.format_exc()), err=True, nl=False)
        return _reported(error)
    return int(code or 0)


def _show_warning(  # noqa: PLR0917 - Python's signature
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,
) -> None:
    """Print a warning, such as one of a team's module, as Python does; an OSError must not fail its code."""
    text = warnings.formatwarning(message, category, filename, lineno, line)
    with contextlib.suppress(OSError):
        terminal.echo(redact_whole(text), err=True, nl=False)


def _reported(error: Exception) -> int:
    for line in _lines(error):
        terminal.echo(redact_whole(line), err=True)
    if isinstance(error, typer.TyperException):
        return error.exit_code
    corrigible = isinstance(error, SettingsError | HandlerError | EventError | FeedError | BridgeError)
    refused_for_good = isinstance(error, PublishError) and error.permanent
    return WRONG_USE if corrigible or refused_for_good else FAILED


def _lines(error: Exception) -> list[str]:
    if isinstance(error, typer.TyperException):
        message = error.format_message()
        if "\n" in message:  # a command without arguments: its help
            return [message]
        return [f"error: {message}", "see: nsqkit --help, or nsqkit COMMAND --help"]
    if isinstance(error, HandlerError):
        return [f"error: {problem}" for problem in error.problems]
    if isinstance(error, NsqkitError):
        return [f"error: {error}"]
    return [f"error: {type(error).__name__}: {error} (--debug shows where)"]
