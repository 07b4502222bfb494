"""Measures nsqkit and other NSQ clients on one real nsqd. Run it with scripts/bench."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import broker, cost, latency, machine, pages, publishing, report, stages, throughput
from bench.orders import SAMPLE, Orders
from bench.programs import CONSUMERS, left_out

SECTIONS = ("throughput", "latency", "publish", "cost")
QUICK = {"messages": 5_000, "rounds": 1, "seconds": 1.0}
FULL = {"messages": 200_000, "rounds": 5, "seconds": 10.0}
PUBLISHED_SHARE = 4  # publishers get this fraction of the messages
IN_FILE = 50_000


def main() -> int:
    """Run the chosen measurements, print tables, and write the results."""
    asked = _arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))  # so that all programs are stopped
    if asked.write_docs:
        pages.write(pages.read(asked.json))
        return 0
    if missing := left_out(CONSUMERS):
        print(f"bench: not installed, so left out: {', '.join(missing)} (scripts/install-clients)")
    orders = Orders.read(asked.orders)
    with broker.running(queue=asked.messages + 10_000) as nsqd:
        if asked.profile:
            print(stages.measure(nsqd, orders, asked.messages))
            return 0
        results = _measured(asked, nsqd, orders)
    for table in report.tables(results):
        print(f"\n{table.text()}")
    print(f"\n{report.about(results)}")
    if asked.is_json_asked or not (asked.quick or asked.client):
        pages.save(asked.json, results)
        print(f"\nwritten to {asked.json}; scripts/bench --write-docs writes it into the docs")
    return 0


def _measured(asked: argparse.Namespace, nsqd: broker.Broker, orders: Orders) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "orders.jsonl"
        orders.write(file, IN_FILE)
        few = max(asked.messages // PUBLISHED_SHARE, 1000)
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "throughput": lambda: throughput.measure(
                nsqd, orders, messages=asked.messages, rounds=asked.rounds, clients=asked.client, say=_say
            ),
            "latency": lambda: latency.measure(
                nsqd, str(file), seconds=asked.seconds, rounds=asked.rounds, clients=asked.client, say=_say
            ),
            "publish": lambda: publishing.measure(
                nsqd, str(file), messages=few, rounds=asked.rounds, say=_say
            ),
            "cost": lambda: cost.measure(
                nsqd, orders, messages=few, rounds=asked.rounds, idle_s=asked.seconds, say=_say
            ),
        }
        results: dict[str, Any] = {"machine": machine.machine(), "versions": machine.versions(nsqd.version)}
        for name in asked.only or SECTIONS:
            _say(f"{name} …")
            started_s = time.monotonic()
            results[name] = {"date": f"{datetime.now(UTC):%Y-%m-%d}", **measures[name]()}
            _say(f"{name} took {time.monotonic() - started_s:.0f} s")
    return results


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a trial run of a minute; its figures are rough")
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="measure only this section; may be repeated"
    )
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        choices=[program.name for program in CONSUMERS],
        metavar="NAME",
        help="measure only this consumer; may be repeated",
    )
    parser.add_argument("--rounds", type=_whole, help=f"interleaved rounds [default: {FULL['rounds']}]")
    parser.add_argument(
        "--messages", type=_whole, help=f"messages per consumer and round [default: {FULL['messages']:,}]"
    )
    parser.add_argument(
        "--seconds", type=float, help=f"seconds per load of the latency [default: {FULL['seconds']:g}]"
    )
    parser.add_argument(
        "--orders", type=Path, default=SAMPLE, metavar="FILE", help="orders to send [default: the sample]"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="results file [default: bench/results.json]"
    )
    parser.add_argument("--profile", action="store_true", help="only profile nsqkit by stage and function")
    parser.add_argument("--write-docs", action="store_true", help="only write the stored results into docs/")
    asked = parser.parse_args(given)
    for name, value in (QUICK if asked.quick else FULL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    asked.is_json_asked = asked.json is not None
    asked.json = asked.json or pages.RESULTS
    return asked


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
