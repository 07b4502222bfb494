"""Prints a table of promises and engines for a run of the delivery tests, and writes it as a page."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[2]
MODULES = ("test_delivery", "test_held", "test_ledger", "test_outage", "test_raised")
ENGINES = {"ledger": "ledger", "devbroker": "embedded broker", "nsqd": "nsqd 1.3.0"}
PROMISES = {
    "returned": ("the handler returns", "Finish"),
    "raised": (
        "the handler raises, attempts < max_attempts",
        "Requeue by backoff, reason `error`; only this channel sees the message again",
    ),
    "forgotten await": (
        "the handler returns, but never awaited a coroutine that it made",
        "as if it had raised; the log names the line",
    ),
    "outcome": ("the handler returns an outcome, or its error is mapped to one", "that outcome"),
    "exhausted": ("a failure or a Requeue, attempts ≥ max_attempts", "DeadLetter, reason `exhausted`"),
    "undecodable": (
        "the body is no event, or an invalid one",
        "DeadLetter at once, reason `undecodable`, with the raw bytes",
    ),
    "unknown type": (
        "the handler does not know the event's type or version",
        "by `on_unknown`: Requeue (30 s, until exhausted), Discard or DeadLetter",
    ),
    "quarantine": (
        "attempts > max_attempts on arrival: earlier deliveries had no outcome",
        "the message runs alone in its worker: no other handler starts until it has an outcome or is lost",
    ),
    "crash suspect": (
        "attempts > max_attempts + 10 on arrival",
        "DeadLetter before decoding, reason `crash_suspect`",
    ),
    "expired": ("the message is older than `max_age_s`", "DeadLetter, reason `expired`, or Discard"),
    "timeout": (
        "an async handler exceeds `timeout_s`",
        "the handler is cancelled, then Requeue, reason `timeout`",
    ),
    "late return": (
        "an async handler swallows its cancellation and returns",
        "that outcome, with a warning and a counted timeout: its effect is done",
    ),
    "ignored cancellation": (
        "an async handler swallows its cancellation and waits on",
        "it is cancelled again after 1, 2 and 4 s; then it is logged and occupies its slot until it ends",
    ),
    "plain timeout": (
        "a plain handler exceeds `timeout_s`",
        "`ctx.cancelled` is set and the slot stays occupied; settled when the handler returns, or lease_lost",
    ),
    "kept by touch": (
        "half of the lease is over",
        "TOUCH, up to `timeout_s` while the handler runs, and never beyond nsqd's max-msg-timeout",
    ),
    "lease lost": (
        "the lease is over, by nsqkit's clock and a margin before nsqd's",
        "lease_lost: nothing is sent, nsqd delivers it again; the handler runs on until its timeout",
    ),
    "redelivered": (
        "the message is redelivered while its earlier delivery is in flight",
        "it waits for the earlier delivery; if that succeeds, FIN as duplicate, else it runs",
    ),
    "connection lost": (
        "the connection dies while the handler runs",
        "lease_lost; nsqd delivers it again after its timeout",
    ),
    "kept waiting": (
        "the intake is paused, or the kill switch is open",
        "RDY 0; messages in flight are kept with TOUCH and run first afterwards; at the cap, requeued",
    ),
    "breaker open": (
        "a dependency's breaker is open inside the handler",
        "Requeue after the breaker's remaining time, reason `breaker_open`; the intake pauses until then",
    ),
    "outage": (
        "a dependency is away for hours: breaker, kill switch or Pause",
        "no dead letter: one message is tried after each pause, and kept if it fails; the pauses grow",
    ),
    "pause exhausts nothing": ("Pause, attempts ≥ max_attempts", "Requeue after `for_s`, reason `paused`"),
    "lost while waiting": (
        "the connection dies before the handler starts",
        "lease_lost at once, the handler does not start, and no attempt is used up",
    ),
    "slot lost": (
        "the lease is over and the handler's call does not end",
        "the slot is lost: RDY drops by one, `/readyz` shows it; trials, suspects and other handlers go on",
    ),
    "drain": (
        "the worker stops",
        "running handlers get `grace_s`, then are cancelled and requeued; the rest is requeued (REQ 0)",
    ),
}
HEAD = """# What happens to one message

Every delivery has exactly one outcome, which is logged at most once and counted once. Each row of this
table is a promise. The columns next to it name the tests that prove it on the harness's ledger with its
virtual clock, on the embedded broker over TCP, and on a real nsqd. `scripts/contract` ran them and wrote
this page; all of them passed. [Operations](operations.md) and [Reliability](reliability.md) explain the
consequences and the limits.

"""


def promised(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """Return the promises that each test of a module is marked with."""
    return {
        name: tuple(mark.args[0] for mark in getattr(test, "pytestmark", ()) if mark.name == "promise")
        for name, test in vars(module).items()
        if name.startswith("test_")
    }


def marked() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the promises of all modules, by module name."""
    return {name: promised(importlib.import_module(f"tests.contract.{name}")) for name in MODULES}


def engine_of(module: str, case: str) -> str | None:
    """Return the engine that a test ran on; None where it is not one of the table's."""
    if module == "test_ledger":
        return "ledger"
    params = case.rstrip("]").partition("[")[2].split("-")
    found = [engine for engine in ENGINES if engine in params]
    if found:
        return found[0]
    if module == "test_outage":  # without an engine it runs in virtual time
        return "ledger"
    return None if params[0] else "nsqd"  # without a choice it needs the real one


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
    """Return the header and then one row per promise: event, outcome, and the tests of each engine."""
    lines = [("event", "outcome", *ENGINES.values())]
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
