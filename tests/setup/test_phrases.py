"""Documents, help and messages are free of the phrases that CONTRIBUTING lists as ones to avoid."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from nsqkit.cli.app import app, main

ROOT = Path(__file__).parents[2]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = (ROOT / "README.md", CONTRIBUTING, *sorted((ROOT / "docs").glob("*.md")))
MODULES = sorted((ROOT / "nsqkit").rglob("*.py"))

_TABLE = re.compile(r"^\| avoid \| write \|\n\|---\|---\|\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE)


def phrases() -> list[str]:
    """Return the phrases of the first column of the table in CONTRIBUTING."""
    table = _TABLE.search(CONTRIBUTING.read_text(encoding="utf-8"))
    assert table, "CONTRIBUTING.md has no table with the columns 'avoid' and 'write'"
    cells = (row.split("|")[1] for row in table["rows"].splitlines())
    return [phrase.strip() for cell in cells for phrase in cell.split(",")]


_ANY_OF_THEM = "|".join(r"\s+".join(map(re.escape, phrase.split())) for phrase in phrases())
PHRASES = re.compile(rf"\b(?:{_ANY_OF_THEM})\b", re.IGNORECASE)


def findings(text: str) -> list[str]:
    """Return each phrase to avoid that a text has, with the words around it."""
    return [
        " ".join(text[max(0, found.start() - 30) : found.end() + 30].split())
        for found in PHRASES.finditer(text)
    ]


def messages(module: Path) -> Iterator[str]:
    """Yield the string literals of a module that are not docstrings."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    docstrings = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def commands(group: Any, *above: str) -> Iterator[tuple[str, ...]]:
    """Yield the words that name a command, then those of all commands below it."""
    yield above
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, *above, name)


COMMANDS = tuple(commands(get_command(app), "nsqkit"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_has_no_phrase_to_avoid(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    assert findings(_TABLE.sub("", text) if document == CONTRIBUTING else text) == []


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_no_phrase_to_avoid(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words[1:], "--help"]) == 0
    assert findings(capsys.readouterr().out) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_messages_of_a_module_have_no_phrase_to_avoid(module: Path) -> None:
    assert [found for text in messages(module) for found in findings(text)] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("Write it\nanew.", 1, id="a word"),
        pytest.param("Told twice what is\n  held", 2, id="capitals, and phrases across lines"),
        pytest.param("`test_it_is_told_and_rests_there`", 0, id="names of code are not prose"),
        pytest.param("forests rest", 0, id="whole words only"),
    ],
)
def test_phrases_are_found_as_words(text: str, found: int) -> None:
    assert len(findings(text)) == found
