"""The command `scripts/reference`: writes docs/reference.md."""

from pathlib import Path

from tests.reference.page import page

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
