"""Formats: convert values to bytes and back; JSON is the only format."""

from typing import Any

import orjson

from nsqkit.errors import EncodeError
from nsqkit.events.codec.models import to_plain


def encode_json(value: object) -> bytes:
    """Return a value as compact JSON; dataclasses, Structs and pydantic models are written by field.

    Raises:
        EncodeError: If it contains a value that JSON cannot represent.
    """
    try:
        return orjson.dumps(value, default=to_plain, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        raise EncodeError(f"{type(value).__name__} cannot be written as JSON: {error}") from error


def loads(body: bytes) -> Any:
    """Return the value in a JSON text.

    Raises:
        ValueError: If *body* is not JSON; the text gives the position.
    """
    return orjson.loads(body)
