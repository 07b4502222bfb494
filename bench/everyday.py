"""Everyday loads: CPU per message, and the time from just before the publish until the handler starts."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from bench.broker import CHANNEL, Broker, until
from bench.clients.tally import Plan
from bench.programs import STEADY, Program
from bench.rounds import interleaved, left_out

PATIENCE_S = 30.0
WARM_UP_S = 0.4
TEMPLATES = 2000
"""Different orders that a run publishes again and again."""


@dataclass(frozen=True)
class Load:
    """A steady load.

    Args:
        per_s: Messages published per second.
        sleep_ms: Milliseconds for which the handler sleeps.
    """

    per_s: int
    sleep_ms: int = 0

    def __str__(self) -> str:
        return f"{self.per_s:,}/s" + (f", handler sleeps {self.sleep_ms} ms" if self.sleep_ms else "")


@dataclass(frozen=True)
class Sample:
    """What one run measured at one load.

    Args:
        cpu_us: CPU microseconds per message.
        late_ns: Latency of each message, in nanoseconds.
    """

    cpu_us: float
    late_ns: list[int]


LOADS = (Load(20), Load(100), Load(1000), Load(5000))
SLEEPING = (Load(5000, sleep_ms=1), Load(100, sleep_ms=50))


def measure(
    broker: Broker,
    orders_file: str,
    *,
    seconds: float,
    rounds: int,
    programs: Sequence[Program],
    say: Any,
) -> dict[str, Any]:
    """Measure CPU and latency of each consumer at each load, over all rounds.

    Args:
        broker: Running nsqd.
        orders_file: File with the orders to publish.
        seconds: Seconds of each load, consumer and round, after a short warm-up.
        rounds: Number of rounds; each round measures all consumers.
        programs: Consumers to measure.
        say: Receives lines about the progress.
    """

    def measured(program: Program) -> dict[Load, Sample]:
        found: dict[Load, Sample] = {}
        for together in runs(program):
            found |= steadily(broker, program, together, seconds, orders_file)
        for load, sample in found.items():
            say(f"  {program.name:<20}{load!s:<30}{summary(sample)}")
        return found

    found = interleaved(programs, rounds, measured)
    return {
        "seconds": seconds,
        "rounds": rounds,
        "left_out": left_out(programs, found),
        "loads": [str(load) for load in (*LOADS, *SLEEPING)],
        "clients": [
            {"name": program.name, "load": str(load), **figures([one[load] for one in each])}
            for program, each in found.items()
            for load in each[0]
        ],
    }


def runs(program: Program) -> Iterator[tuple[Load, ...]]:
    """Yield the loads of each run of a program; the largest load comes first and warms the program up."""
    yield tuple(reversed(LOADS))
    if program.can_sleep:
        yield from ((load,) for load in SLEEPING)


def steadily(
    broker: Broker, program: Program, loads: Sequence[Load], seconds: float, orders_file: str
) -> dict[Load, Sample]:
    """Measure one run of a consumer at one load after another, all with the same handler.

    Raises:
        ProgramError: If a program fails.
    """
    parts = [(load.per_s, round(load.per_s * WARM_UP_S), round(load.per_s * seconds)) for load in loads]
    with ExitStack() as stack:
        topic = stack.enter_context(broker.topic("everyday"))
        plan = Plan(
            address=broker.tcp,
            topics=(topic,),
            channel=CHANNEL,
            count=sum(warm_up + measured for _, warm_up, measured in parts),
            hold_ms=loads[0].sleep_ms,
            is_timed=True,
        )
        running = stack.enter_context(program.running(plan))
        until(lambda: broker.is_consumed(topic) or running.process.poll() is not None, program.name)
        steady = Plan(
            address=broker.tcp,
            topics=(topic,),
            count=TEMPLATES,
            orders=orders_file,
            loads=tuple(parts),
            pid=running.process.pid,
        )
        used_s = stack.enter_context(STEADY.running(steady)).answer()["cpu_s"]
        late_ns = running.answer(limit_s=PATIENCE_S)["late_ns"]
    cpu_us = [each / measured * 1e6 for each, (_, _, measured) in zip(used_s, parts, strict=True)]
    return dict(zip(loads, map(Sample, cpu_us, measured_parts(late_ns, parts)), strict=True))


def measured_parts(late_ns: list[int], parts: Iterable[tuple[int, int, int]]) -> Iterator[list[int]]:
    """Yield the latencies of each load without those of its warm-up.

    Args:
        late_ns: Latencies of all loads, in the order of their arrival.
        parts: Rate of each load, and its messages before and during the measurement.
    """
    ends = accumulate((warm_up + measured for _, warm_up, measured in parts), initial=0)
    for (start, end), (_, warm_up, _) in zip(pairwise(ends), parts, strict=True):
        yield late_ns[start + warm_up : end]


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the CPU of each round, and the quantiles of all latencies together."""
    late_ns = [each for sample in samples for each in sample.late_ns]
    cpu_us = [{"cpu_us": sample.cpu_us} for sample in samples]
    return {"samples": len(late_ns), **quantiles_ms(late_ns), "rounds": cpu_us}


def quantiles_ms(late_ns: list[int]) -> dict[str, float]:
    """Return P50, P95 and P99 in milliseconds, by the nearest-rank method."""
    ordered = sorted(late_ns)
    return {f"p{share}_ms": ordered[-(-len(ordered) * share // 100) - 1] / 1e6 for share in (50, 95, 99)}


def summary(sample: Sample) -> str:
    """Return CPU, P50 and P99 as text."""
    ms = quantiles_ms(sample.late_ns)
    return f"{sample.cpu_us:>6.0f} µs CPU   P50 {ms['p50_ms']:>7.2f} ms   P99 {ms['p99_ms']:>7.2f} ms"
