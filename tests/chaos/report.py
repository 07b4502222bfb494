"""Report: what the audit found, as a table for people, for a document, or for programs."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from tests.chaos.audit import Finding, Tally
from tests.chaos.checkup import Record
from tests.chaos.memory import MIB

_HEADINGS = ("confirmed", "succeeded", "dead-lettered", "more than once", "extra", "lost")


def text(findings: Sequence[Finding]) -> str:
    """Return both tables in columns, and the problems."""
    problems = [f"{each.about.name}: {problem}" for each in findings for problem in each.problems]
    return "\n\n".join(
        (
            _columns(_by_phase(findings)),
            _columns(_by_kind(findings)),
            "\n".join(problems) or "nothing is lost, and everything is as promised",
        )
    )


def markdown(findings: Sequence[Finding]) -> str:
    """Return both tables for a document."""
    return f"{_piped(_by_phase(findings))}\n\n{_piped(_by_kind(findings))}"


def soaked(record: Record, *, is_markdown: bool) -> str:
    """Return what a soak adds, as two tables: its faults, and its workers."""
    form = _piped if is_markdown else _columns
    return f"{form(_by_trouble(record))}\n\n{form(_by_worker(record))}"


def as_json(findings: Sequence[Finding]) -> str:
    """Return everything, by phase."""
    return json.dumps(
        {
            each.about.name: {
                **asdict(each.about),
                **asdict(each.total),
                "kinds": {kind: asdict(tally) for kind, tally in each.tallies.items()},
                "cancelled": each.cancelled,
                "problems": each.problems,
            }
            for each in findings
        },
        indent=1,
    )


def _by_phase(findings: Sequence[Finding]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("phase", *_HEADINGS, "seconds", "faults carried out")]
    for each in findings:
        carried_out = ", ".join(f"{count} × {sort}" for sort, count in each.about.faults.items())
        rows.append(
            (each.about.name, *_cells(each.total), f"{each.about.seconds:.0f}", carried_out or "none")
        )
    return rows


def _by_kind(findings: Sequence[Finding]) -> list[Sequence[str]]:
    kinds = sorted({kind for each in findings for kind in each.tallies})
    rows: list[Sequence[str]] = [("kind of order", *_HEADINGS)]
    rows += (
        (kind, *_cells(sum((each.tallies.get(kind, Tally()) for each in findings), Tally())))
        for kind in kinds
    )
    return rows


def _by_trouble(record: Record) -> list[Sequence[str]]:
    seconds: defaultdict[str, list[float]] = defaultdict(list)
    for trouble in record.troubles:
        seconds[trouble.sort].append(trouble.ended_s - trouble.began_s)
    rows: list[Sequence[str]] = [("fault", "times", "seconds in all", "longest, seconds")]
    rows += ((sort, f"{len(each)}", f"{sum(each):.0f}", f"{max(each):.1f}") for sort, each in seconds.items())
    return rows


def _by_worker(record: Record) -> list[Sequence[str]]:
    headings = (
        "worker",
        "deliveries",
        "log lines",
        "MiB in the second fifth",
        "in the last",
        "files",
        "at the end",
    )
    rows: list[Sequence[str]] = [headings]
    for worker in record.workers:
        memory = (f"{each.resident_bytes / MIB:.1f}" for each in (worker.second, worker.last))
        files = (f"{each.descriptors}" for each in (worker.second, worker.last))
        lines = worker.lines + worker.message_lines
        rows.append((worker.name, f"{worker.received:,}", f"{lines:,}", *memory, *files))
    return rows


def _cells(tally: Tally) -> Iterable[str]:
    numbers = (
        tally.confirmed,
        tally.succeeded,
        tally.dead_lettered,
        tally.duplicated,
        tally.extra,
        tally.lost,
    )
    return (f"{number:,}" for number in numbers)


def _columns(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if is_text else cell.rjust(width)
            for cell, width, is_text in zip(row, widths, _texts(rows), strict=True)
        ).rstrip()
        for row in rows
    )


def _piped(rows: Sequence[Sequence[str]]) -> str:
    heading, *body = (f"| {' | '.join(row)} |" for row in rows)
    ruler = "|" + "|".join("---" if is_text else "---:" for is_text in _texts(rows)) + "|"
    return "\n".join((heading, ruler, *body))


def _texts(rows: Sequence[Sequence[str]]) -> list[bool]:
    """Return which columns hold words, not numbers."""
    return [
        not any(cell[0].isdigit() and " " not in cell for cell in column[1:])
        for column in zip(*rows, strict=True)
    ]
