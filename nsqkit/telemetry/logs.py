"""Logs: structured log lines, coloured on a terminal and JSON elsewhere. Logging never raises.

Records of the standard library's ``logging`` are written in the same way. No line contains a message's body.
"""

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO, cast

import orjson
import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

from nsqkit.policy.visible import visible
from nsqkit.settings.settings import Settings
from nsqkit.telemetry.line_writer import LineWriter, writer_of
from nsqkit.telemetry.log_fields import readable, redacted

__all__ = ["FilteringBoundLogger", "configure", "get_logger"]

# Their lines repeat what nsqkit logs about connections and requests.
_SILENCED: Final = ("nsq", "tornado.access", "tornado.general")

_MULTILINE: Final = frozenset({"stack", "exception"})
_TOO_LONG_FOR_JSON: Final = 2**63

_Fields = MutableMapping[str, Any]


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Write the logs of nsqkit, the handlers and the libraries to one stream.

    May be called again. Existing loggers then use the new configuration; loggers with bound values do not.

    Args:
        settings: The settings ``log_format`` and ``log_level`` are used.
        stream: The stream to write to; standard error by default. Lines are coloured if it is a terminal and
            ``NO_COLOR`` is not set.
    """
    output = sys.stderr if stream is None else stream
    lines = _Lines(output)
    on_terminal = output.isatty()
    console = settings.log_format == "console" or (settings.log_format == "auto" and on_terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            lambda _logger, _name, fields: redacted(fields),
            *(_console(colors=on_terminal and "NO_COLOR" not in os.environ) if console else _json()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=False,
    )
    _route_standard_logging(settings.log_level.upper())


def get_logger(**fields: object) -> FilteringBoundLogger:
    """Return a logger that adds *fields* to every line."""
    return cast("FilteringBoundLogger", structlog.get_logger(**fields))


def get_logger_from(level: str) -> FilteringBoundLogger:
    """Return a logger that writes lines of *level* and above, also before :func:`configure` is called.

    Args:
        level: A value of the setting ``log_level``, such as ``warning``.
    """
    return cast(
        "FilteringBoundLogger",
        structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(level)),
    )


class _Lines:
    """Writes whole lines. A closed stream, or a character that it cannot encode, raises nothing.

    A real file descriptor is written to without waiting for its reader: a full pipe must not stop the worker.
    """

    # Reentrant: the garbage collector may run while it is held, and asyncio logs lost tasks that it finds.
    _lock = threading.RLock()

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._writer = _writer_of(stream)

    def msg(self, line: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            encoded = line.encode(encoding, "backslashreplace")
            if self._writer is not None:
                self._writer.write(encoded + b"\n")
                return
            writable = encoded.decode(encoding)
            with self._lock:
                self._stream.write(f"{writable}\n")
                self._stream.flush()
        except (OSError, ValueError):  # closed pipe, full disk or closed stream: nowhere is left to report it
            return

    debug = info = warning = error = critical = msg


def _writer_of(stream: TextIO) -> LineWriter | None:
    """Return the writer of a stream's descriptor; None for a stream without one, such as one of a test."""
    if type(stream) is not io.TextIOWrapper:
        return None
    try:
        return writer_of(stream.fileno(), _report_dropped)
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return None


def _report_dropped(count: int) -> None:
    get_logger().error("log_lines_dropped", count=count)


class _Bridge(logging.Handler):
    """Passes records of the standard library's logging to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001 - a format or an argument's __str__ may raise anything; keep the line
            event = f"{readable(record.msg)} {readable(record.args)}"
        level = max(level for level in _LEVELS if level <= max(record.levelno, logging.DEBUG))
        get_logger().log(level, event, logger=record.name, exc_info=record.exc_info)


_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)


def _route_standard_logging(level: str) -> None:
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Bridge)]:
        root.removeHandler(handler)
    root.addHandler(_Bridge())
    root.setLevel(level)
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _console(*, colors: bool) -> tuple[structlog.typing.Processor, ...]:
    render = structlog.dev.ConsoleRenderer(
        colors=colors,
        sort_keys=False,
        pad_event_to=24,
        exception_formatter=structlog.dev.plain_traceback,  # the default one prints local variables
    )
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    return (stamp, _Guarded(lambda logger, name, fields: render(logger, name, _printable(fields))))


def _json() -> tuple[structlog.typing.Processor, ...]:
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    return (stamp, _Guarded(_json_line))


class _Guarded:
    """A renderer that replaces values which cannot be rendered by readable text."""

    def __init__(self, render: Callable[[WrappedLogger, str, _Fields], str]) -> None:
        self._render = render

    def __call__(self, logger: WrappedLogger, name: str, fields: _Fields) -> str:
        try:
            return self._render(logger, name, dict(fields))
        except Exception as error:  # noqa: BLE001 - a value's __repr__ may raise anything
            shown = {readable(key): _stand_in(value) for key, value in fields.items()}
            return self._render(logger, name, shown | {"log_error": readable(error)})


def _json_line(_logger: WrappedLogger, _name: str, fields: _Fields) -> str:
    first = {key: fields.pop(key) for key in ("timestamp", "level", "event") if key in fields}
    line = orjson.dumps(first | dict(fields), default=readable, option=orjson.OPT_NON_STR_KEYS).decode()
    return line if line.isprintable() else json.dumps(orjson.loads(line))  # a terminal may show it


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
