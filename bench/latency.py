"""Latency: time from just before the publish until the handler starts, at a steady load."""

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
    """A steady load.

    Args:
        per_s: Messages published per second.
        hold_ms: Duration of the handler in milliseconds.
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
    """Measure the latency quantiles of each consumer at each load, over all rounds.

    Args:
        broker: Running nsqd.
        orders_file: File with the orders to publish.
        seconds: Seconds of each load, consumer and round, after a warm-up of one second.
        rounds: Number of rounds; each round measures all consumers.
        clients: Names of the consumers to measure; empty for all.
        say: Receives lines about the progress.
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
        say(f"  round {number + 1} {program.name:<10}{load!s:<30}{summary(late_ns)}")
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
    """Return the latency of each message, in nanoseconds.

    Raises:
        ProgramError: If a program fails.
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
    """Return P50, P95 and P99 in milliseconds, by the nearest-rank method."""
    ordered = sorted(late_ns)
    return {f"p{share}_ms": ordered[-(-len(ordered) * share // 100) - 1] / 1e6 for share in (50, 95, 99)}


def summary(late_ns: list[int]) -> str:
    """Return P50 and P99 as text."""
    quantiles = quantiles_ms(late_ns)
    return f"P50 {quantiles['p50_ms']:>7.2f} ms   P99 {quantiles['p99_ms']:>7.2f} ms"
