"""Headers: AMQP's table of headers as the headers of a record, and back. No I/O, and no library of AMQP."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from nsqkit.bridge.record import Headers
from nsqkit.errors import RecordRefusedError

_LONGEST_NAME_BYTES: Final = 128
_MOST_BYTES: Final = 100_000
"""All headers of a message share one frame, of 128 KiB in RabbitMQ; a longer one ends the connection."""


def headers_of(table: Mapping[str, Any] | None) -> Headers:
    """Return the headers of a message, in the order of the table, with their values as text in UTF-8.

    A byte array stays as it is, an array or a table becomes JSON, a time ISO 8601, no value an empty text.

    Args:
        table: As the library decodes it; None for a message without headers.
    """
    return tuple((name, _bytes(value)) for name, value in (table or {}).items())


def table_of(headers: Headers) -> dict[str, str | bytearray]:
    """Return the table for headers; of a name that occurs several times, it has the last value.

    Args:
        headers: Values that are not UTF-8 become byte arrays.

    Raises:
        RecordRefusedError: If a name has more than 128 bytes, or all of them together more than 100,000.
    """
    for name, _ in headers:
        if len(name.encode()) > _LONGEST_NAME_BYTES:
            raise RecordRefusedError(f"header {name[:40]!r}… has a name of more than 128 bytes, AMQP's most")
    table = {name: _text_or_bytes(value) for name, value in headers}
    if sum(len(name.encode()) + len(value) for name, value in headers) > _MOST_BYTES:
        raise RecordRefusedError(f"its headers have more than {_MOST_BYTES} bytes")
    return table


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    return _text(value).encode()


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case datetime():
            return value.isoformat()
        case bool() | list() | dict():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_nested)
        case _:
            return str(value)


def _nested(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes | bytearray) else _text(value)


def _text_or_bytes(value: bytes) -> str | bytearray:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return bytearray(value)
