"""Latency: from just before the publish until the handler is entered, at a steady load."""

import itertools
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from bench.broker import CHANNEL, Broker, until
from bench.clients.tally import Plan
from bench.programs import STEADY, TIMED, Program, ProgramError, chosen, left_out

PATIENCE_S = 30.0
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Load:
    """How much is published, and how long the handler takes.

    Args:
        per_s: Messages per second.
        hold_ms: Of the handler; milliseconds.
    """

    per_s: int
    hold_ms: int = 0

    def __str__(self) -> str:
        return f"{self.per_s:,}/s" + (f", handler takes {self.hold_ms} ms" if self.hold_ms else "")


LOADS = (Load(20), Load(100), Load(1000), Load(100, hold_ms=50))


def measure(
    broker: Broker,
    orders_file: str,
    *,
    seconds: float,
    rounds: int,
    clients: Sequence[str] = (),
    say: Any = print,
) -> dict[str, Any]:
    """Return the quantiles of each consumer at each load, over all rounds.

    Args:
        broker: Where the orders are.
        orders_file: Where the publisher finds them.
        seconds: Of each load, consumer and round, after a second that does not count.
        rounds: How often; all take part in one before the next begins.
        clients: The names of those that take part; none for all.
        say: Told how it goes.
    """
    found: dict[tuple[Program, Load], list[int]] = {}
    gone: set[Program] = set()
    for number, load, program in itertools.product(range(rounds), LOADS, chosen(TIMED, clients)):
        if program in gone:
            continue
        try:
            late_ns = timed(broker, program, load, seconds, orders_file)
        except ProgramError as error:
            print(f"bench: {error}", file=sys.stderr)
            gone.add(program)
            continue
        found.setdefault((program, load), []).extend(late_ns)
        say(f"  round {number + 1} {program.name:<10}{load!s:<30}{told(late_ns)}")
    return {
        "seconds": seconds,
        "rounds": rounds,
        "left_out": left_out(TIMED),
        "loads": [str(load) for load in LOADS],
        "clients": [
            {"name": program.name, "load": str(load), "samples": len(late_ns), **quantiles_ms(late_ns)}
            for (program, load), late_ns in found.items()
            if program not in gone
        ],
    }


def timed(broker: Broker, program: Program, load: Load, seconds: float, orders_file: str) -> list[int]:
    """Return how late each message came, in nanoseconds.

    Raises:
        ProgramError: If a program gave no answer.
    """
    warm_up = round(load.per_s * WARM_UP_S)
    plan = Plan(
        address=broker.tcp,
        topics=("latency",),
        channel=CHANNEL,
        count=warm_up + round(load.per_s * seconds),
        hold_ms=load.hold_ms,
        is_timed=True,
        orders=orders_file,
        rate=load.per_s,
    )
    with ExitStack() as stack:
        stack.enter_context(broker.topic(plan.topic))
        running = stack.enter_context(program.running(plan))
        until(lambda: broker.is_consumed(plan.topic) or running.process.poll() is not None, program.name)
        stack.enter_context(STEADY.running(plan)).answer(limit_s=seconds + PATIENCE_S)
        late_ns: list[int] = running.answer(limit_s=PATIENCE_S)["late_ns"]
    return late_ns[warm_up:]


def quantiles_ms(late_ns: list[int]) -> dict[str, float]:
    """Return P50, P95 and P99 in milliseconds: the smallest sample that so many are not above."""
    ordered = sorted(late_ns)
    return {f"p{share}_ms": ordered[-(-len(ordered) * share // 100) - 1] / 1e6 for share in (50, 95, 99)}


def told(late_ns: list[int]) -> str:
    """Return the quantiles for a person."""
    quantiles = quantiles_ms(late_ns)
    return f"P50 {quantiles['p50_ms']:>7.2f} ms   P99 {quantiles['p99_ms']:>7.2f} ms"
