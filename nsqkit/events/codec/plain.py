"""Plain: a decoded event of any kind as values of JSON, for people to read. It redacts nothing."""

import base64
from collections.abc import Mapping
from typing import Any

from nsqkit.events.codec.codecs import JsonCodec
from nsqkit.events.codec.formats import loads


def plain(event: Any) -> Any:
    """Return an event as values of JSON; a message of Protocol Buffers has the fields that are set.

    Raises:
        EncodeError: If it has a value that JSON does not have.
    """
    return _message(event) if hasattr(event, "ListFields") else loads(JsonCodec().encode(event))


def _message(message: Any) -> dict[str, Any]:
    return {field.name: _value(value) for field, value in message.ListFields()}


def _value(value: Any) -> Any:
    if hasattr(value, "ListFields"):
        return _message(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): _value(inner) for key, inner in value.items()}
    if isinstance(value, str | int | float):
        return value
    return [_value(inner) for inner in value]
