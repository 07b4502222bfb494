"""The arguments of scripts/bench."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench import against, pages
from bench.orders import SAMPLE
from bench.programs import CONSUMERS

SECTIONS = ("throughput", "small", "everyday", "publish", "cost", "traces", "watched", "page")
QUICK = {"messages": 5_000, "rounds": 1, "seconds": 0.5}
FULL = {"messages": 40_000, "rounds": 5, "seconds": 1.0}


def read(given: Sequence[str], description: str) -> argparse.Namespace:
    """Return the arguments, with defaults filled in; exit with an error if one is invalid."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=description)
    _add_extent(parser)
    _add_material(parser)
    parser.add_argument("--profile", action="store_true", help="only profile nsqkit by stage and function")
    parser.add_argument("--sql", action="store_true", help="only measure handlers that write to PostgreSQL")
    parser.add_argument(
        "--bridge", action="store_true", help="only measure bridges to Kafka and RabbitMQ, and bare clients"
    )
    parser.add_argument("--write-docs", action="store_true", help="only write the stored results into docs/")
    asked = parser.parse_args(given)
    for name, value in (QUICK if asked.quick else FULL).items():
        if getattr(asked, name) is None:
            setattr(asked, name, value)
    asked.is_stored = asked.json is not None or not (asked.quick or asked.client)
    asked.json = asked.json or pages.RESULTS
    return asked


def _add_extent(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--quick", action="store_true", help="a trial run of less than 3 minutes; its figures are rough"
    )
    parser.add_argument(
        "--only", action="append", choices=SECTIONS, help="measure only this section; may be repeated"
    )
    parser.add_argument("--rounds", type=_whole, help=f"interleaved rounds [default: {FULL['rounds']}]")
    parser.add_argument(
        "--messages", type=_whole, help=f"messages per program and round [default: {FULL['messages']:,}]"
    )
    parser.add_argument(
        "--seconds", type=_seconds, help=f"seconds of each everyday load [default: {FULL['seconds']:g}]"
    )


def _add_material(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--client",
        action="append",
        default=[],
        choices=[program.name for program in CONSUMERS],
        metavar="NAME",
        help="measure only this consumer; may be repeated",
    )
    parser.add_argument(
        "--against",
        type=against.commit,
        metavar="COMMIT",
        help="measure nsqkit at this commit too, as one more client",
    )
    parser.add_argument(
        "--orders", type=Path, default=SAMPLE, metavar="FILE", help="orders to send [default: the sample]"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="results file [default: bench/results.json]"
    )


def _whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= 60.0:  # noqa: PLR2004 - at 20/s a message takes 0.05 s
        raise argparse.ArgumentTypeError(f"{text} is not between 0.1 and 60")
    return number
