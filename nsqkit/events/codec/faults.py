"""Faults: what makes a body invalid, and where; bytes that are not JSON are named with the byte to blame."""

import re

_BYTE = re.compile(r"\(byte (?P<position>\d+)\)")
_MARKS = (
    (b"\xef\xbb\xbf", "a UTF-8 byte order mark (BOM); the producer must write UTF-8 without one"),
    (b"\xff\xfe\x00\x00", "a UTF-32 byte order mark (BOM); the producer must write UTF-8"),
    (b"\x00\x00\xfe\xff", "a UTF-32 byte order mark (BOM); the producer must write UTF-8"),
    (b"\xff\xfe", "a UTF-16 byte order mark (BOM); the producer must write UTF-8"),
    (b"\xfe\xff", "a UTF-16 byte order mark (BOM); the producer must write UTF-8"),
    (b"\x1f\x8b", "gzip; give the event or the handler codec=GzipCodec()"),
    (b"\x28\xb5\x2f\xfd", "Zstandard; the event or the handler needs a codec"),
)
_ESCAPE = re.compile(
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")
_NUMBERS = re.compile(rb"(NaN|Infinity|nan|inf)\b")


class FaultError(ValueError):
    """A part of a body is invalid. The decoder knows the topic, and raises ``DecodeError`` instead.

    Args:
        path: JSON path of the part, from ``$``.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return self.reason if self.path == "$" else f"{self.path}: {self.reason}"


def fault(body: bytes, text: str, offset: int = 0) -> str:
    """Return why bytes are not JSON.

    Args:
        body: The whole body; positions count from its first byte.
        text: What a reader of JSON said; it may contain the position as ``(byte 7)``.
        offset: Position at which the reader began, in bytes.
    """
    return _mark(body) or _encoding(body) or _surrogate(body) or _position(body, text, offset)


def _mark(body: bytes) -> str | None:
    for mark, name in _MARKS:
        if body.startswith(mark):
            return f"it begins with {mark.hex(' ').upper()} (byte 0), which is {name}"
    if body[1:2] == b"\0" or body[:1] == b"\0":
        at = 1 if body[1:2] == b"\0" else 0
        kind = "UTF-16" if len(body) % 2 == 0 and b"\0\0" not in body else "UTF-16, UTF-32 or binary"
        return f"it has 00 (byte {at}), as in {kind}; the producer must write UTF-8"
    return None


def _encoding(body: bytes) -> str | None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        at = error.start
        found = f"{body[at]:02X} (byte {at})"
        if _SURROGATE.match(body, at):
            return f"it has {found}, a lone surrogate, which UTF-8 does not allow"
        character = body[at : at + 1].decode("latin-1")
        if not character.isprintable():
            return f"it has {found}, which is not UTF-8"
        return (
            f"it has {found}, which is not UTF-8 but {character!r} in Latin-1; the producer must write UTF-8"
        )
    return None


def _surrogate(body: bytes) -> str | None:
    for found in _ESCAPE.finditer(body):
        if found["lone"]:
            text = found["lone"].decode()
            return f"it has {text} (byte {found.start()}), a lone surrogate: half of a character"
    return None


def _position(body: bytes, text: str, offset: int) -> str:
    if not body.strip():
        return "it is empty"
    found = _BYTE.search(text)
    if not found:
        return text
    at = offset + int(found["position"])
    if number := _NUMBERS.match(body, at):
        return f"it has {number[0].decode()} (byte {at}), which JSON does not have; send null or a text"
    there = f": {body[at : at + 4].decode(errors='ignore')[:1]!r}" if "invalid character" in text else ""
    return f"{text[: found.start()]}(byte {at}){text[found.end() :]}{there}"
