"""Upcasting: read old data through the upcasters of the versions between; numbers keep their digits."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Self

import msgspec

from nsqkit.events.codec.read import Read

Step = Callable[[dict[str, Any]], dict[str, Any]]


class _Digits(float):
    """A number of JSON that a float would round; written as it came unless it is computed with."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number


def _number(text: str) -> float:
    number = float(text)
    return number if Decimal(repr(number)) == Decimal(text) else _Digits(text)


def _plain(value: object) -> object:
    if isinstance(value, _Digits):
        return msgspec.Raw(value.text.encode())
    raise TypeError(f"an upcaster returned {type(value).__name__}, which JSON does not have")


_loads = msgspec.json.Decoder(float_hook=_number).decode
_dumps = msgspec.json.Encoder(enc_hook=_plain).encode


def upcasting(decode: Read, steps: Sequence[Step]) -> Read:
    """Return a reader of an old version.

    Args:
        decode: Reads the newest version.
        steps: The upcasters from the old version to the newest, in order.
    """

    def lift(raw: bytes | msgspec.Raw) -> Any:
        data = _loads(raw)
        for step in steps:
            data = step(data)
        return decode(_dumps(data))

    return lift
