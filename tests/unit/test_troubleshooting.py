"""The page for troubleshooting quotes names and texts that there are."""

import re
from pathlib import Path

from nsqkit.admin import handlers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
NSQD_STATS = {"deferred_count"}

_CODE = re.compile(r"`([^`\n]+)`")
_NAME = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")
_NEXT_LITERAL = re.compile(r"""["']\s+f?["']""")


def names_in(text: str) -> set[str]:
    return {name for code in _CODE.findall(text) for name in _NAME.findall(code)}


def source() -> str:
    """Return the whole source, with texts that are split over lines joined."""
    files = sorted((ROOT / "nsqkit").rglob("*.py"))
    return _NEXT_LITERAL.sub("", "\n".join(file.read_text(encoding="utf-8") for file in files))


def error_texts() -> list[str]:
    """Return the first column of the table of errors at the start."""
    section = PAGE.split("\n## ")[1]
    return re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def test_every_name_is_in_the_reference_or_a_setting() -> None:
    known = NSQD_STATS.union(handlers.IntakeState)
    for page in ("reference.md", "settings.md"):
        known |= names_in((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert names_in(PAGE) - known == set()


def test_every_error_text_is_in_the_source() -> None:
    """A text is quoted as it is, with … for what differs from case to case."""
    text = source()
    parts = [part.strip(" ;:,") for error in error_texts() for part in error.split("…")]
    assert len(error_texts()) > 10
    assert [part for part in parts if part not in text] == []
