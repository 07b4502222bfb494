"""Logs: the loggers of nsqkit, and its configuration of logs. Logging never raises.

Only the command line and :func:`configure_logs` configure anything. Without that, lines of nsqkit go through
the structlog that the program has configured, or else through standard logging under the name ``nsqkit``. No
line contains a message's body.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor, WrappedLogger

from nsqkit.handler.current import log_fields
from nsqkit.policy.visible import visible
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import standard_logging
from nsqkit.telemetry.console import console_line
from nsqkit.telemetry.json_line import json_line
from nsqkit.telemetry.log_fields import readable, redacted
from nsqkit.telemetry.log_lines import LogLines

__all__ = ["FilteringBoundLogger", "configure_logs", "folds_failures", "get_logger"]

_NAME: Final = "nsqkit"
_MULTILINE: Final = frozenset({"stack", "exception"})
_TOO_LONG_FOR_JSON: Final = 2**63

_Fields = MutableMapping[str, Any]
_Render = Callable[[WrappedLogger, str, _Fields], str]


def configure_logs(settings: Settings, stream: TextIO | None = None) -> None:
    """Write the logs of nsqkit, the handlers and the libraries to one stream, and Python's warnings too.

    The command line does so by itself. A program calls it if it wants the same lines; it replaces the
    program's own configuration of structlog, and handlers of standard logging that write to the stream. It
    may be called again. Existing loggers then use the new configuration; loggers with bound values do not.

    Args:
        settings: The settings ``log_format`` and ``log_level`` are used.
        stream: The stream to write to; standard error by default. Lines are coloured if it is a terminal and
            ``NO_COLOR`` is not set.
    """
    output = sys.stderr if stream is None else stream
    of_others, own = (LogLines(output, _report_dropped) for _ in range(2))
    on_terminal = output.isatty()
    is_console = settings.log_format == "console" or (settings.log_format == "auto" and on_terminal)
    _Folding.is_on = is_console and settings.log_level != "debug"
    colors = on_terminal and "NO_COLOR" not in os.environ
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            # Lines of nsqkit name their message by themselves; its timers may run in any message's context.
            lambda logger, _name, fields: fields if logger is own else {**log_fields(), **fields},
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            lambda _logger, _name, fields: redacted(fields),
            *(_console(colors=colors, is_short=_Folding.is_on) if is_console else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=lambda *names: own if names == (_NAME,) else of_others,
        cache_logger_on_first_use=False,
    )
    standard_logging.route(settings.log_level, output)
    warnings.showwarning = _log_warning


class _Folding:
    """Whether the configured lines are those for a person, who reads a repeated failure once."""

    is_on = False


def folds_failures() -> bool:
    """Return whether repeats of a failure are to be counted instead of written."""
    return _Folding.is_on


def get_logger(**fields: object) -> FilteringBoundLogger:
    """Return a logger of nsqkit that adds *fields* to every line."""
    return cast("FilteringBoundLogger", _Logger(fields))


def add_to_every_line(**fields: object) -> None:
    """Add fields to every line of this context and of all tasks that start in it."""
    structlog.contextvars.bind_contextvars(**fields)


class _Logger:
    """A logger that finds out where its lines go when it writes one, or binds fields."""

    def __init__(self, fields: dict[str, object]) -> None:
        self._fields = fields

    def bind(self, **fields: object) -> Any:
        """Return a logger with further fields, whose lines go where they go now."""
        make = structlog.get_logger if structlog.is_configured() else standard_logging.standard_logger
        return make(_NAME).bind(**{**self._fields, **fields})

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bind(), name)


def _report_dropped(count: int) -> None:
    get_logger().error("log_lines_dropped", count=count)


def _log_warning(  # noqa: PLR0917 - Python's signature
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Log a warning of Python, such as one of a team's module. The code that causes it must not fail."""
    with contextlib.suppress(Exception):
        structlog.get_logger().warning(
            "python_warning", category=category.__name__, detail=str(message), at=f"{filename}:{lineno}"
        )


def _console(*, colors: bool, is_short: bool) -> tuple[Processor, ...]:
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    if is_short:
        return (stamp, _Guarded(lambda _logger, _name, fields: console_line(fields, colors=colors)))
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        sort_keys=False,
        pad_event_to=24,
        exception_formatter=structlog.dev.plain_traceback,  # the default one prints local variables
    )
    return (stamp, _Guarded(lambda logger, name, fields: render(logger, name, _printable(fields))))


def _json() -> tuple[Processor, ...]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return (stamp, _Guarded(lambda _logger, _name, fields: json_line(fields)))


class _Guarded:
    """A renderer that replaces values which cannot be rendered by readable text."""

    def __init__(self, render: _Render) -> None:
        self._render = render

    def __call__(self, logger: WrappedLogger, name: str, fields: _Fields) -> str:
        try:
            return self._render(logger, name, dict(fields))
        except Exception as error:  # noqa: BLE001 - a value's __repr__ may raise anything
            shown = {readable(key): _stand_in(value) for key, value in fields.items()}
            return self._render(logger, name, shown | {"log_error": readable(error)})


def _printable(fields: _Fields) -> dict[str, Any]:
    """Escape characters that would move the terminal's cursor or change its colours."""
    return {
        visible(key): visible(value, keep="\n" if key in _MULTILINE else "")
        if isinstance(value, str)
        else value
        for key, value in fields.items()
    }


def _stand_in(value: object) -> object:
    small = isinstance(value, float) or (isinstance(value, int) and abs(value) < _TOO_LONG_FOR_JSON)
    return value if small or value is None else readable(value)
