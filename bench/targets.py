"""Targets of nsqkit, compared with the results of a run."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Results = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One target with its measured figure.

    Args:
        says: Description of the figure.
        bound: Limit for the figure, in *unit*.
        is_least: Whether the bound is a lower limit; otherwise it is an upper one.
        found: Measured figure, in *unit*.
        unit: Unit of both numbers, with a leading space where one belongs.
    """

    says: str
    bound: float
    is_least: bool
    found: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the target is met."""
        return self.found >= self.bound if self.is_least else self.found <= self.bound


def median_of(client: dict[str, Any], figure: str = "messages_per_s") -> float:
    """Return the median of a figure over a client's rounds."""
    return float(statistics.median(one[figure] for one in client["rounds"]))


def targets(results: Results) -> list[Target]:
    """Return all targets for which there are results."""
    return [*_throughput(results), *_latency(results), *_publish(results), *_cost(results)]


def _rates(results: Results, section: str) -> dict[str, float]:
    return {client["name"]: median_of(client) for client in results.get(section, {}).get("clients", ())}


def _times(rates: dict[str, float], ours: str, theirs: str, bound: float) -> Iterator[Target]:
    if ours in rates and theirs in rates:
        yield Target(f"{ours} over {theirs}", bound, True, rates[ours] / rates[theirs], "×")  # noqa: FBT003


def _throughput(results: Results) -> Iterator[Target]:
    rates = _rates(results, "throughput")
    yield from _times(rates, "nsqkit", "pynsq", 6.0)
    yield from _times(rates, "nsqkit", "go-nsq", 1.5)
    yield from _times(rates, "nsqkit", "go-nsq, 200 goroutines", 1.5)
    yield from _times(rates, "nsqkit", "nsqjs", 1.0)
    yield from _times(rates, "nsqkit", "bare asyncio", 0.4)
    yield from _times(rates, "nsqkit, run_on_loop", "nsqkit", 0.9)
    yield from _times(rates, "nsqkit", "nsqkit, fixed RDY", 0.9)
    yield from _times(rates, "nsqkit, threads", "pynsq", 2.0)


def _latency(results: Results) -> Iterator[Target]:
    for client in results.get("latency", {}).get("clients", ()):
        if client["name"] == "nsqkit":
            for share, bound_ms in (("p50", 2.0), ("p99", 10.0)):
                says = f"{share.upper()} at {client['load']}"
                yield Target(says, bound_ms, False, client[f"{share}_ms"], " ms")  # noqa: FBT003


def _publish(results: Results) -> Iterator[Target]:
    yield from _times(_rates(results, "publish"), "nsqkit publish_raw", "pynsq Writer.pub", 5.0)


def _cost(results: Results) -> Iterator[Target]:
    cost = results.get("cost", {})
    by_handlers = [each["cpu_us"] for each in cost.get("handlers", ())]
    if by_handlers:
        spread = max(by_handlers) / min(by_handlers) - 1
        yield Target("difference in CPU per message, 1 to 100 handlers", 15.0, False, spread * 100, " %")  # noqa: FBT003
    figures: tuple[tuple[str, str, float, Callable[[float], float], str], ...] = (
        ("idle_cpu_ratio", "CPU of an idle worker", 1.0, lambda ratio: ratio * 100, " %"),
        ("idle_rss_mib", "memory of an idle worker", 80.0, float, " MiB"),
        ("help_s", "nsqkit --help", 0.4, float, " s"),
        ("ready_s", "worker ready", 1.0, float, " s"),
    )
    for name, says, bound, shown, unit in figures:
        if name in cost:
            yield Target(says, bound, False, shown(cost[name]), unit)  # noqa: FBT003
