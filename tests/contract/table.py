"""Prints a table of rules and engines for a run of the contract suite, and writes it as a page."""

import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

ENGINES = {"TestLedger": "ledger", "TestEmbedded": "embedded broker", "TestNsqd": "nsqd 1.3.0"}
HEAD = """# The contract

These are the rules of NSQ that consumers rely on. Each rule is a test of `nsqkit.testing.contract` that
runs on the pure ledger with a manual clock, on the embedded broker over TCP, and on a real nsqd (whose
timers notice a new channel after 100 ms instead of 5 s). `scripts/contract` runs the tests and writes
this page. In addition, a state machine drives all three with the same random commands and compares their
counts (`tests/contract/test_state_machine.py`).

Rules of the wire protocol do not apply to the ledger (–). The contract does not cover which of several
consumers receives a message, message ids, sampling, compression, and the exact time at which a timer
fires. A rule about time says that something does not happen earlier, and that it does happen.

"""


def results(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield rule, engine and outcome of every test in a JUnit file."""
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - pytest wrote it
        engine = ENGINES.get(case.get("classname", "").rpartition(".")[2].removesuffix("Limits"))
        if engine:
            bad = [child.tag for child in case if child.tag in {"failure", "error", "skipped"}]
            outcome = {"skipped": "–"}.get(bad[0], bad[0]) if bad else "passed"
            yield rule(case.get("name", "")), engine, outcome


def rule(name: str) -> str:
    """Return a test's name as a sentence."""
    words, _, case = name.removeprefix("test_").partition("[")
    sentence = words.replace("_", " ")
    return f"{sentence} ({case.rstrip(']')})" if case else sentence


def grid(rows: list[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    """Return the header and then one row per rule, in the order of the suite."""
    found = {(rule, engine): outcome for rule, engine, outcome in rows}
    names = dict.fromkeys(rule for rule, _, _ in rows)
    cells = [(name, *(found.get((name, engine), "not run") for engine in ENGINES.values())) for name in names]
    return [("rule", *ENGINES.values()), *cells]


def markdown(lines: list[tuple[str, ...]]) -> str:
    """Return the grid as a Markdown table."""
    head, *rest = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join((head, f"|{'---|' * len(lines[0])}", *rest)) + "\n"


def plain(lines: list[tuple[str, ...]]) -> str:
    """Return the grid as text in columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip() + "\n"
        for cells in lines
    )


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    found = grid(list(results(source)))
    target.write_text(HEAD + markdown(found), encoding="utf-8")
    sys.stdout.write(plain(found))
