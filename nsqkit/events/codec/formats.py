"""Formats: how values become bytes and bytes values; JSON so far."""

from typing import Any

import orjson

from nsqkit.errors import EncodeError
from nsqkit.events.codec.models import to_plain


def encode_json(value: object) -> bytes:
    """Return a value as compact JSON; dataclasses, Structs and pydantic models are written by field.

    Raises:
        EncodeError: If it has a value that JSON cannot hold.
    """
    try:
        return orjson.dumps(value, default=to_plain, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        raise EncodeError(f"{type(value).__name__} cannot be written as JSON: {error}") from error


def loads(body: bytes) -> Any:
    """Return the value in a JSON text.

    Raises:
        ValueError: If it is not JSON; the message says where.
    """
    return orjson.loads(body)
