"""The index of the documentation has every page."""

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_the_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()
