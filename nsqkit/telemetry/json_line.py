"""JSON line: the fields of a log line as one JSON object, those that every reader looks for first."""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from nsqkit.telemetry.log_fields import readable

FIRST: Final = (
    "timestamp",
    "level",
    "event",
    "request_id",
    "event_id",
    "message_id",
    "topic",
    "channel",
    "handler",
    "action",
    "attempts",
    "outcome",
    "latency_ms",
    "error_type",
)
"""The fixed names, in their order. Other fields follow."""


def json_line(fields: Mapping[str, Any]) -> str:
    """Return the line; a value that JSON cannot hold is its ``repr()``."""
    ordered = {name: fields[name] for name in FIRST if name in fields} | dict(fields)
    line = orjson.dumps(ordered, default=readable, option=orjson.OPT_NON_STR_KEYS).decode()
    return line if line.isprintable() else json.dumps(orjson.loads(line))  # a terminal may show it
