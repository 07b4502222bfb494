"""Docstrings: Google-style docstrings as values, their markup turned into Markdown."""

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Source):$", re.MULTILINE)
_ITEM = re.compile(r"^(?P<name>\*{0,2}\w+): +(?P<text>.*)$", re.DOTALL)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")


@dataclass(frozen=True)
class Doc:
    """One docstring.

    Args:
        summary: Its first paragraph, on one line.
        items: Names and texts of the sections that list something, by section: Args, Attributes, Raises.
        returns: The text of its Returns section; empty where there is none.
    """

    summary: str
    items: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    returns: str = ""

    def of(self, section: str) -> Mapping[str, str]:
        """Return the items of a section; none where the docstring does not have it."""
        return self.items.get(section, {})


def doc_of(thing: object) -> Doc:
    """Return the docstring of a class, a function or a property."""
    return parsed(inspect.getdoc(thing) or "")


def parsed(text: str) -> Doc:
    """Return a docstring as a value.

    Args:
        text: The docstring without its indentation.
    """
    marks = list(_SECTION.finditer(text))
    sections = {
        mark[1]: inspect.cleandoc(text[mark.end() : following.start() if following else len(text)])
        for mark, following in pairwise([*marks, None])
        if mark is not None
    }
    items = {name: dict(_items(body)) for name, body in sections.items() if name not in {"Returns", "Yields"}}
    summary = text.partition("\n\n")[0]
    return Doc(_markdown(summary), items, _markdown(sections.get("Returns", "")))


def _items(body: str) -> Iterator[tuple[str, str]]:
    """Yield the entries of a section: each begins at the margin, and its further lines are indented."""
    starts = [match.start() for match in re.finditer(r"^\S", body, re.MULTILINE)]
    for start, end in pairwise([*starts, len(body)]):
        entry = _ITEM.match(body[start:end].strip())
        if entry is not None:
            yield entry["name"].lstrip("*"), _markdown(entry["text"])


def _markdown(text: str) -> str:
    line = " ".join(text.split())
    return _ROLE.sub(r"`\1`", line).replace("``", "`")
