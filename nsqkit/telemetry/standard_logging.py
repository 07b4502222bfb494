"""Standard logging: the way to it for lines of nsqkit, and from it for lines of libraries."""

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, WrappedLogger

from nsqkit.handler.origin import is_own
from nsqkit.telemetry.log_fields import readable, redacted

# Their lines repeat what nsqkit logs about connections and requests.
_SILENCED: Final = ("nsq", "tornado.access", "tornado.general", "aio_pika", "aiormq")

_LEVELS: Final = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
_OF_RECORD: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})
_OF_LINE: Final = frozenset({"event", "level", "timestamp", "logger"})
_MULTILINE: Final = frozenset({"stack", "exception"})


def standard_logger(name: str) -> FilteringBoundLogger:
    """Return a structlog logger whose lines are records of standard logging.

    The message has the event and its fields as text. The record has the fields as attributes, too, as if they
    were given as ``extra``; one that has the name of an attribute of every record gets a ``_`` behind it.

    Args:
        name: Name of the standard logger.
    """
    logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            lambda _logger, _method, given: redacted(given),
            _to_record,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        context_class=dict,
    )
    return cast("FilteringBoundLogger", logger)


def _to_record(
    _logger: WrappedLogger, _method: str, fields: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """Return the arguments of the standard logger's method."""
    event, exc_info = readable(fields.pop("event", "")), fields.pop("exc_info", None)
    parts = [event, *(f"{name}={_text(value)}" for name, value in fields.items() if name not in _MULTILINE)]
    stacks = [str(fields[name]) for name in sorted(_MULTILINE.intersection(fields))]
    extra = {f"{name}_" if name in _OF_RECORD else name: value for name, value in fields.items()}
    return ("\n".join([" ".join(parts), *stacks]),), {"extra": extra, "exc_info": exc_info}


def _text(value: object) -> str:
    text = readable(value)
    return repr(text) if isinstance(value, str) and (" " in text or not text) else text


class Bridge(logging.Handler):
    """Passes records of standard logging to structlog, their ``extra`` as fields.

    One that has the name of a field of every line gets a ``_`` behind it.

    Libraries pass warnings and above, unless a level is set on their logger.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        if not _is_wanted(record):
            return
        try:
            event = record.getMessage()
        except Exception:  # noqa: BLE001 - a format or an argument's __str__ may raise anything; keep the line
            event = f"{readable(record.msg)} {readable(record.args)}"
        level = max(level for level in _LEVELS if level <= max(record.levelno, logging.DEBUG))
        fields = {"logger": record.name, "exc_info": record.exc_info, "stack": record.stack_info}
        given = {**_extra(record), **{name: value for name, value in fields.items() if value}}
        structlog.get_logger().bind(**given).log(level, event)


def _extra(record: logging.LogRecord) -> Mapping[str, Any]:
    extra = {name: value for name, value in vars(record).items() if name not in _OF_RECORD}
    return {f"{name}_" if name in _OF_LINE else name: value for name, value in extra.items()}


def _is_wanted(record: logging.LogRecord) -> bool:
    if record.levelno >= logging.WARNING or is_own(record.pathname):
        return True
    if record.name.partition(".")[0] == "nsqkit":
        return True
    logger = logging.getLogger(record.name)
    while logger.parent is not None:  # the root's level is nsqkit's
        if logger.level != logging.NOTSET:
            return True
        logger = logger.parent
    return False


def route(level: str, stream: TextIO) -> None:
    """Route standard logging to structlog, instead of to handlers that write to the same stream.

    Args:
        level: The lowest level, such as ``info``.
        stream: The stream that structlog's lines go to.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, Bridge) or _writes_to(handler, stream):
            root.removeHandler(handler)
    root.addHandler(Bridge())
    root.setLevel(level.upper())
    for name in _SILENCED:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _writes_to(handler: logging.Handler, stream: TextIO) -> bool:
    return type(handler) is logging.StreamHandler and handler.stream is stream
