"""Stored results, and their pages in the docs: tables between markers, plots in files."""

import json
import re
import sys
from pathlib import Path

from bench import plot, report
from bench.programs import ROOT
from bench.targets import Results

RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
PLOTS = {"throughput": plot.throughput, "everyday": plot.everyday}
NOTHING = "Not measured yet: `scripts/bench`, then `scripts/bench --write-docs`."
_PART = re.compile(r"(?P<begin><!-- bench: (?P<name>\w+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def read(file: Path) -> Results:
    """Read results from a file."""
    if not file.exists():
        sys.exit(f"bench: {file.name} does not exist; scripts/bench writes it")
    found: Results = json.loads(file.read_text(encoding="utf-8"))
    return found


def save(file: Path, results: Results) -> None:
    """Write results; keep other sections of an earlier run on the same machine and versions."""
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if all(before.get(name) == results[name] for name in ("machine", "versions")):
            results = before | results
    file.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write(results: Results) -> None:
    """Write results into the docs."""
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    for name, drawn in plots(results).items():
        PAGE.with_name(name).write_text(drawn, encoding="utf-8")


def plots(results: Results) -> dict[str, str]:
    """Return the plots by file name."""
    return {_file(name): draw(results[name]) for name, draw in PLOTS.items() if name in results}


def filled(page: str, results: Results | None) -> str:
    """Return a page with the text between its markers replaced.

    Args:
        page: Page with markers such as ``<!-- bench: everyday -->`` and ``<!-- end -->``.
        results: Results of a run; None if there are none yet.
    """
    parts = {} if results is None else {table.name: table.markdown() for table in report.tables(results)}
    if results is not None:
        parts["about"] = report.about(results)
        for name in plots(results):
            section = name.removesuffix(".svg").partition("-")[2]
            parts[section] = f"![{section.capitalize()}, as in the table below]({name})\n\n{parts[section]}"
    return _PART.sub(
        lambda found: f"{found['begin']}{parts.get(found['name'], NOTHING)}\n{found['end']}", page
    )


def _file(section: str) -> str:
    return f"performance-{section}.svg"
