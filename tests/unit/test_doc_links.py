"""Links lead to a heading that is there, and the index of the documentation has every page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ANCHOR = re.compile(r"\]\((?P<target>[^)#: ]*)#(?P<anchor>[^)]+)\)")


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = _HEADING.findall(_FENCED.sub("", document.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document",
    sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")]),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_to_a_heading_lead_to_one(document: Path) -> None:
    text = _FENCED.sub("", document.read_text(encoding="utf-8"))
    missing = [
        link[0]
        for link in _ANCHOR.finditer(text)
        if link["anchor"] not in anchors(document.parent / link["target"] if link["target"] else document)
    ]
    assert missing == []


def test_the_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()
