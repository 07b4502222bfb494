"""Prints the table promise × engine of a run of the tests of delivery, and writes it as a page."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
MODULES = ("test_delivery", "test_held", "test_ledger")
ENGINES = {"ledger": "ledger", "devbroker": "embedded broker", "nsqd": "nsqd 1.3.0"}
PROMISES = {
    "returned": ("the handler returned", "Finish"),
    "raised": (
        "it raised, attempts < max_attempts",
        "Requeue by backoff, reason `error`; this channel alone sees it again",
    ),
    "outcome": ("it returned an outcome, or what it raised is mapped to one", "that outcome"),
    "exhausted": ("a failure, or a Requeue, at attempts ≥ max_attempts", "DeadLetter, reason `exhausted`"),
    "undecodable": (
        "the body is no event, or not a valid one",
        "DeadLetter at once, reason `undecodable`, with the raw bytes",
    ),
    "unknown type": (
        "its type or version is not known here",
        "by `on_unknown`: Requeue (30 s, until exhausted), Discard or DeadLetter",
    ),
    "quarantine": (
        "attempts > max_attempts on arrival: earlier deliveries left no outcome",
        "it runs alone in its worker: nothing else starts until it ends, or is lost",
    ),
    "crash suspect": (
        "attempts > max_attempts + 10 on arrival",
        "DeadLetter before decoding, reason `crash_suspect`",
    ),
    "expired": ("older than `max_age_s`", "DeadLetter, reason `expired`, or Discard"),
    "timeout": ("an async handler past `timeout_s`", "cancelled, then Requeue, reason `timeout`"),
    "plain timeout": (
        "a plain handler past `timeout_s`",
        "`ctx.cancelled` is set and its slot stays taken; settled when it returns, or lease_lost",
    ),
    "kept by touch": (
        "a delivery is held at half of its lease",
        "TOUCH, up to `timeout_s` while it runs, and never past nsqd's max-msg-timeout",
    ),
    "lease lost": (
        "the lease is over, by the clock here and a margin before nsqd's",
        "lease_lost: nothing is sent, nsqd delivers it again; the handler runs on to its timeout",
    ),
    "redelivered": (
        "it comes again while its earlier delivery is held",
        "it waits for that one; if that is done with it, FIN as duplicate, else it runs",
    ),
    "connection lost": (
        "the connection died while the handler ran",
        "lease_lost; nsqd delivers it again after its timeout",
    ),
    "kept waiting": (
        "the intake is paused, or its kill switch open",
        "RDY 0; what is held is kept by TOUCH and runs first afterwards; at the cap it is requeued",
    ),
    "breaker open": (
        "a dependency's breaker is open inside the handler",
        "Requeue after the breaker's remaining time, reason `breaker_open`; the intake pauses as long",
    ),
    "drain": (
        "the worker stops",
        "what runs gets `grace_s`, then is cancelled and given back; all else is given back (REQ 0)",
    ),
}
HEAD = """# What happens to one message

Every delivery ends in exactly one outcome, logged once and counted once. Each row is a promise; beside it are
the tests that prove it, on the harness's ledger with its clock, on the embedded broker over TCP, and on a
real nsqd. `scripts/contract` ran them and wrote this page: all of them passed. What follows from the rows for
a team, and what is not promised, is in [operations](operations.md) and [testing](testing.md).

"""


def promised(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """Return the promises that each test of a module is marked with."""
    return {
        name: tuple(mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "promise")
        for name, test in vars(module).items()
        if name.startswith("test_")
    }


def marked() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the same for all modules, by their names."""
    return {name: promised(importlib.import_module(f"tests.contract.{name}")) for name in MODULES}


def engine_of(module: str, case: str) -> str | None:
    """Return the engine that a test ran on; None where it is not one of the table's."""
    if module == "test_ledger":
        return "ledger"
    params = case.rstrip("]").partition("[")[2].split("-")
    found = [engine for engine in ENGINES if engine in params]
    return found[0] if found else "nsqd" if not params[0] else None  # without a choice it needs the real one


def proofs(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield promise, engine and test of every test in a JUnit file that passed."""
    marks = marked()
    for case in ET.parse(path).iter("testcase"):  # noqa: S314 - pytest wrote it
        module = case.get("classname", "").rpartition(".")[2]
        name = case.get("name", "").partition("[")[0]
        engine = engine_of(module, case.get("name", ""))
        if engine and not [child for child in case if child.tag in {"failure", "error", "skipped"}]:
            for promise in marks.get(module, {}).get(name, ()):
                yield promise, engine, f"{module}.py::{name}"


def rows(found: list[tuple[str, str, str]]) -> list[tuple[str, ...]]:
    """Return the head and then a promise a row: what happened, what follows, and the tests of each engine."""
    lines = [("what happened", "outcome", *ENGINES.values())]
    for promise, told in PROMISES.items():
        cells = (
            dict.fromkeys(test for row in found if row[:2] == (promise, engine) for test in row[2:])
            for engine in ENGINES
        )
        lines.append((*told, *(" ".join(f"`{test}`" for test in cell) or "–" for cell in cells)))
    return lines


def markdown(lines: list[tuple[str, ...]]) -> str:
    """Return the table as Markdown."""
    head, *rest = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join((head, f"|{'---|' * len(lines[0])}", *rest)) + "\n"


def missing(lines: list[tuple[str, ...]]) -> list[str]:
    """Return a line for each promise that is not proven on an engine."""
    head, *rest = lines
    return [
        f"not proven on {engine}: {line[0]}"
        for line in rest
        for engine, cell in zip(head[2:], line[2:], strict=True)
        if cell == "–"
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    source, target = map(Path, sys.argv[1:])
    table = rows(list(proofs(source)))
    target.write_text(HEAD + markdown(table), encoding="utf-8")
    sys.stdout.write("".join(f"{line}\n" for line in missing(table)) or f"{len(table) - 1} promises proven\n")
