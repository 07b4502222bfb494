"""Body: what a message says, as a person reads it, whether or not it is an event that is known here.

It decodes into no types; that is the codec's.
"""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

from nsqkit.policy.redaction import redact, redact_json

Kind = Literal["json", "text", "binary"]
_DEEPEST = 200
_NOT_JSON = object()


@dataclass(frozen=True, slots=True)
class Body:
    """One message's body.

    Args:
        kind: ``json``; ``text`` where it is some other UTF-8; else ``binary``.
        value: What the JSON holds; otherwise the text, with backslashes before bytes that are no UTF-8.
    """

    kind: Kind
    value: object

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Return what is in some bytes, whatever they are."""
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
        """Return it without what looks like a secret."""
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
        """The envelope's data; without an envelope all there is."""
        if isinstance(self.value, dict) and self.value.get("specversion") is not None:
            return self.value.get("data")
        return self.value

    def has(self, path: str, text: str) -> bool:
        """Return whether a field has a value; in a list one of them must.

        Args:
            path: Names with dots between them, such as ``data.lines.product``, from the outermost object.
            text: The value; a text as it is, anything else as JSON writes it.
        """
        if self.kind != "json":
            return False
        return any(_text(value) == text for value in _found(self.value, path.split(".")))


def line(value: object) -> str:
    """Return a JSON value as one line that does nothing to a terminal but show itself; it stays JSON."""
    written = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in written)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):  # Python reads and writes it, JSON has no such thing
        raise ValueError(text)
    return number


def _is_shallow(value: object) -> bool:
    """Return whether all that goes through a value by calling itself will come back."""
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
