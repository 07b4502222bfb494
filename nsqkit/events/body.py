"""Message bodies as people read them: JSON, text or binary, whether or not the event type is known.

It does not decode into event types; the codec does that.
"""

import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from nsqkit.policy.redaction import redact, redact_json

Kind = Literal["json", "text", "binary"]
_DEEPEST = 200
_MAX_BYTES = 10_485_760
_NOT_JSON = object()


@dataclass(frozen=True, slots=True)
class Body:
    """One message's body.

    Args:
        kind: ``json``; ``text`` for other printable UTF-8; otherwise ``binary``.
        value: The decoded JSON; otherwise the text, with backslash escapes for bytes that are not UTF-8.
    """

    kind: Kind
    value: object

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Classify and decode any bytes; gzip is read as what is in it."""
        body = decompressed(body)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return cls("binary", body.decode(errors="backslashreplace"))
        try:
            value = json.loads(text, parse_constant=_number, parse_float=_number)
        except (ValueError, RecursionError):
            value = _NOT_JSON
        if value is not _NOT_JSON and _is_shallow(value):
            return cls("json", value)
        is_text = text.replace("\n", "").replace("\t", "").isprintable()
        return cls("text" if is_text else "binary", text)

    def redacted(self) -> "Body":
        """Return a copy in which everything that looks like a secret is masked."""
        if not isinstance(self.value, str) or self.kind == "json":
            return replace(self, value=redact_json(self.value))
        return replace(self, value=redact(self.value, limit=4 * len(self.value) + 1))

    def attribute(self, name: str) -> str | None:
        """Return a text attribute of the CloudEvents envelope, such as ``type``; None if there is none."""
        if not isinstance(self.value, dict) or self.value.get("specversion") is None:
            return None
        value = self.value.get(name)
        return value if isinstance(value, str) else None

    @property
    def content(self) -> object:
        """The envelope's data; the whole value if there is no envelope."""
        if isinstance(self.value, dict) and self.value.get("specversion") is not None:
            return self.value.get("data")
        return self.value

    def has(self, path: str, text: str) -> bool:
        """Return whether a field has a value; one match in a list is enough.

        Args:
            path: Field names joined by dots from the outermost object, such as ``data.lines.product``.
            text: The value to find; a string without quotes, any other value as JSON.
        """
        if self.kind != "json":
            return False
        return any(_text(value) == text for value in _found(self.value, path.split(".")))


def line(value: object) -> str:
    """Return a JSON value as one line of JSON that is safe to print on a terminal."""
    written = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in written)


def decompressed(body: bytes) -> bytes:
    """Return a body without its gzip, cut at 10 MiB; any other body, and damaged gzip, as it is."""
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(body, _MAX_BYTES) or body
    except zlib.error:
        return body


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # Python reads and writes NaN and Infinity, which are not JSON
        raise ValueError(text)
    return number


def _is_shallow(value: object) -> bool:
    """Return whether recursive functions can process a value without a RecursionError."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for each in level for inner in _inside(each)]
    return not level


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _found(value: object, names: Sequence[str]) -> Iterator[object]:
    if isinstance(value, list):
        for each in value:
            yield from _found(each, names)
    elif not names:
        yield value
    elif isinstance(value, dict) and names[0] in value:
        yield from _found(value[names[0]], names[1:])


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
