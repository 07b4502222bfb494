"""Measures nsqkit and other NSQ clients on one real nsqd. Run it with scripts/bench."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import (
    against,
    arguments,
    bridge,
    broker,
    cost,
    everyday,
    machine,
    page,
    pages,
    publishing,
    report,
    sql,
    stages,
    throughput,
)
from bench.orders import Orders
from bench.programs import CONSUMERS, EVERYDAY, HOLDER, NSQKIT, TRACED, WATCHED, Program, named

IN_FILE = 50_000
IDLE_S = 2.0
MOST_TRACED = 10_000
"""Messages for traces: a sampled one takes many times as long as another, so more would take minutes."""
PER_TRANSACTION = 20
"""How many times as long a message with a transaction takes, roughly."""
TIMES_WATCHED = 3
"""Times the messages of other sections: a watched worker must run for several scrapes or samples."""


def main() -> int:
    """Run the chosen measurements, print tables, and write the results."""
    asked = arguments.read(sys.argv[1:], __doc__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))  # so that all programs are stopped
    if asked.write_docs:
        pages.write(pages.read(asked.json))
        return 0
    if missing := [program.name for program in CONSUMERS if not program.is_installed]:
        print(f"bench: not installed, so left out: {', '.join(missing)} (scripts/install-clients)")
    orders = Orders.read(asked.orders)
    with broker.running(queue=TIMES_WATCHED * asked.messages + 10_000) as nsqd:
        if asked.profile:
            print(stages.measure(nsqd, orders, asked.messages))
            return 0
        if asked.sql:
            print(sql.measure(nsqd, asked.messages // PER_TRANSACTION, asked.rounds))
            return 0
        if asked.bridge:
            print(bridge.measure(nsqd, orders.first(asked.messages), asked.rounds, _say))
            return 0
        results = _measured(asked, nsqd, orders)
    for table in report.tables(results):
        print(f"\n{table.text()}")
    print(f"\n{report.about(results)}")
    if asked.is_stored:
        pages.save(asked.json, results)
        print(f"\nwritten to {asked.json}; scripts/bench --write-docs writes it into the docs")
    return 0


def _measured(asked: argparse.Namespace, nsqd: broker.Broker, orders: Orders) -> dict[str, Any]:
    results: dict[str, Any] = {"machine": machine.machine(), "versions": machine.versions(nsqd.version)}
    _say(report.python(results))
    with ExitStack() as stack:
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "orders.jsonl"
        orders.write(file, IN_FILE)
        other = stack.enter_context(against.checked_out(asked.against)) if asked.against else None
        measures = _measures(asked, nsqd, orders, str(file), other)
        for name in asked.only or arguments.SECTIONS:
            _say(f"{name} …")
            started_s = time.monotonic()
            results[name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", **measures[name]()}
            _say(f"{name} took {time.monotonic() - started_s:.0f} s")
    return results


def _measures(
    asked: argparse.Namespace,
    nsqd: broker.Broker,
    orders: Orders,
    file: str,
    other: against.Checkout | None,
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return a function for each section that measures it."""
    extent = {"rounds": asked.rounds, "say": _say}

    def beside(ours: Program) -> list[Program]:
        return [other.of(ours)] if other else []

    consumers = [*named(CONSUMERS, asked.client), *beside(NSQKIT)]

    def rates(orders: Orders, programs: Sequence[Program], messages: int = asked.messages) -> dict[str, Any]:
        return throughput.measure(nsqd, orders, messages=messages, programs=programs, **extent)

    def loads() -> dict[str, Any]:
        programs = [*named(EVERYDAY, asked.client), *beside(NSQKIT)]
        return everyday.measure(nsqd, file, seconds=asked.seconds, programs=programs, **extent)

    return {
        "throughput": lambda: rates(orders, consumers),
        "small": lambda: rates(orders.small(), consumers),
        "everyday": loads,
        "publish": lambda: publishing.measure(nsqd, file, messages=asked.messages, **extent),
        "cost": lambda: cost.measure(
            nsqd, orders, messages=asked.messages, idle_s=IDLE_S, held=[HOLDER, *beside(HOLDER)], **extent
        ),
        "traces": lambda: rates(orders, TRACED, min(asked.messages, MOST_TRACED)),
        "watched": lambda: rates(orders, WATCHED, TIMES_WATCHED * asked.messages),
        "page": lambda: page.measure(nsqd, orders.first(TIMES_WATCHED * asked.messages), **extent),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
