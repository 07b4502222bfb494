"""The kept bodies of other systems: what a program wrote, and which of the readers here takes it."""

import base64
import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
LANGUAGES = ("go", "node", "python")


@dataclass(frozen=True)
class Foreign:
    """One body.

    Args:
        language: The language of the program that wrote it.
        name: What is special about it.
        reader: Name of the reader that a team would declare for it.
        body: The bytes.
    """

    language: str
    name: str
    reader: str
    body: bytes


def parsed(language: str, lines: str) -> list[Foreign]:
    """Return the bodies that a program printed."""
    rows = [json.loads(line) for line in lines.splitlines()]
    return [Foreign(language, row["name"], row["reader"], base64.b64decode(row["base64"])) for row in rows]


def kept() -> list[Foreign]:
    """Return all bodies in the files."""
    files = {each: (HERE / f"{each}.jsonl").read_text(encoding="utf-8") for each in LANGUAGES}
    return [body for language, lines in files.items() for body in parsed(language, lines)]


def comparable(bodies: Sequence[Foreign]) -> list[tuple[str, bytes]]:
    """Return names and bodies without what differs between versions of gzip."""
    return [(each.name, _unpacked(each.body)) for each in bodies]


def _unpacked(body: bytes) -> bytes:
    if not body.startswith(b"\x1f\x8b"):
        return body
    try:
        return gzip.decompress(body)
    except (EOFError, zlib.error):
        return b"cut off"
