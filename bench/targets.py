"""Targets of nsqkit, compared with the results of a run."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bench.page import overhead
from bench.workers import BY_HAND, SUPERVISED

Results = dict[str, Any]
ByClass = tuple[float, float]
"""A figure for slow machines, and the one for fast machines."""

OURS = "nsqkit"
AGAINST = "nsqkit at "
"""Beginning of the name of another commit."""
FAST_BELOW_US = 4.0
_SIZES = {"small": "small orders", "throughput": "large orders"}


@dataclass(frozen=True)
class Target:
    """One target with its measured figure.

    Args:
        says: Description of the figure.
        floor: Limit for the figure, in *unit*.
        found: Measured figure, in *unit*.
        aim: Better figure that is worth reaching, in *unit*; None if there is none.
        is_least: Whether floor and aim are lower limits; otherwise they are upper ones.
        unit: Unit of the numbers, with a leading space where one belongs.
    """

    says: str
    floor: float
    found: float
    aim: float | None = None
    is_least: bool = True
    unit: str = "×"

    @property
    def is_met(self) -> bool:
        """Whether the floor is met."""
        return self._reaches(self.floor)

    @property
    def verdict(self) -> str:
        """``missed``, ``met``, or ``aim met``."""
        if not self.is_met:
            return "missed"
        return "aim met" if self.aim is not None and self._reaches(self.aim) else "met"

    def _reaches(self, limit: float) -> bool:
        return self.found >= limit if self.is_least else self.found <= limit


def median_of(client: dict[str, Any], figure: str = "messages_per_s") -> float:
    """Return the median of a figure over a client's rounds."""
    return float(statistics.median(one[figure] for one in client["rounds"]))


def machine_class(results: Results) -> str | None:
    """Return ``fast`` or ``slow``, by bare asyncio's CPU for a large order; None if that was not measured."""
    cpu_us = _medians(results, "throughput", "cpu_us").get("bare asyncio")
    if cpu_us is None:
        return None
    return "fast" if cpu_us < FAST_BELOW_US else "slow"


def targets(results: Results) -> list[Target]:
    """Return all targets for which there are results."""
    return [
        *_throughput(results),
        *_everyday(results),
        *_publish(results),
        *_cost(results),
        *_watched(results),
        *_page(results),
    ]


def _medians(results: Results, section: str, figure: str = "messages_per_s") -> dict[str, float]:
    return {c["name"]: median_of(c, figure) for c in results.get(section, {}).get("clients", ())}


def _throughput(results: Results) -> Iterator[Target]:
    for section, size in _SIZES.items():
        rates = _medians(results, section)
        for ours, theirs, floor, aim in (*_by_class(results), *_of_every_class(section)):
            if ours in rates and theirs in rates:
                says = f"{ours} over {theirs}, {size}"
                yield Target(says, floor, rates[ours] / rates[theirs], aim)


def _by_class(results: Results) -> Iterator[tuple[str, str, float, float]]:
    found = machine_class(results)
    if found is None:
        return
    at = 1 if found == "fast" else 0
    figures: tuple[tuple[str, str, ByClass, ByClass], ...] = (
        (OURS, "go-nsq", (2.0, 3.0), (3.0, 4.0)),
        (OURS, "go-nsq, 200 goroutines", (1.3, 2.0), (2.0, 2.5)),
        (OURS, "pynsq", (6.0, 4.0), (10.0, 5.0)),
        ("nsqkit, threads", "pynsq", (3.0, 2.0), (4.0, 3.0)),
    )
    yield from ((ours, theirs, floors[at], aims[at]) for ours, theirs, floors, aims in figures)


def _of_every_class(section: str) -> Iterator[tuple[str, str, float, float | None]]:
    floor, aim = (0.4, 0.5) if section == "small" else (0.45, 0.6)
    yield OURS, "bare asyncio", floor, aim
    yield OURS, "nsqjs", 1.0, None
    yield "nsqkit, run_on_loop", OURS, 0.9, None
    yield OURS, "nsqkit, fixed RDY", 0.9, None


def _everyday(results: Results) -> Iterator[Target]:
    found = results.get("everyday", {}).get("clients", ())
    clients = {(client["name"], client["load"]): client for client in found}
    for load in ("20/s", "100/s", "1,000/s", "100/s, handler sleeps 50 ms"):
        if (OURS, load) in clients:
            ours = clients[OURS, load]
            yield Target(f"P50 at {load}", 2.0, ours["p50_ms"], None, is_least=False, unit=" ms")
            yield Target(f"P99 at {load}", 10.0, ours["p99_ms"], None, is_least=False, unit=" ms")
    other = next((name for name, _ in clients if name.startswith(AGAINST)), "")
    for load, theirs, floor, aim in (
        ("1,000/s", "pynsq", 0.8, 0.5),
        ("100/s", "pynsq", 1.0, 0.6),
        ("5,000/s, handler sleeps 1 ms", other, 0.7, 0.5),
    ):
        if (OURS, load) in clients and (theirs, load) in clients:
            ratio = median_of(clients[OURS, load], "cpu_us") / median_of(clients[theirs, load], "cpu_us")
            yield Target(f"CPU per message over {theirs}, {load}", floor, ratio, aim, is_least=False)


def _publish(results: Results) -> Iterator[Target]:
    rates = _medians(results, "publish")
    ours, theirs = "nsqkit publish_raw", "pynsq Writer.pub"
    if ours in rates and theirs in rates:
        yield Target(f"{ours} over {theirs}", 5.0, rates[ours] / rates[theirs])


def _cost(results: Results) -> Iterator[Target]:
    cost = results.get("cost", {})
    by_handlers = {each["handlers"]: each["cpu_us"] for each in cost.get("handlers", ())}
    if by_handlers:
        ratio = by_handlers[100] / by_handlers[1]
        yield Target("CPU per message, 100 handlers over 1", 1.15, ratio, 1.1, is_least=False)
    by_workers = {each["workers"]: each["cpu_us"] for each in cost.get("workers", ())}
    if by_workers:
        ratio = by_workers[2] / by_workers[1]
        yield Target("CPU per message, two workers on a channel over one", 1.1, ratio, 1.05, is_least=False)
    services = {each["started"]: each["cpu_us"] for each in cost.get("services", ())}
    if services:
        ratio = services[SUPERVISED] / services[BY_HAND]
        yield Target("CPU per message, --workers 2 over two by hand", 1.05, ratio, 1.0, is_least=False)
    in_flight = {each["name"]: each["bytes"] for each in cost.get("in_flight", ())}
    for name, their_bytes in in_flight.items():
        if name.startswith(AGAINST) and OURS in in_flight:
            ratio = in_flight[OURS] / their_bytes
            yield Target(f"memory per message in flight over {name}", 1.0, ratio, 0.7, is_least=False)
    figures: tuple[tuple[str, str, float, Callable[[float], float], str], ...] = (
        ("idle_cpu_ratio", "CPU of an idle worker", 1.0, lambda ratio: ratio * 100, " %"),
        ("idle_rss_mib", "memory of an idle worker", 80.0, float, " MiB"),
        ("help_s", "nsqkit --help", 0.4, float, " s"),
        ("ready_s", "worker ready", 1.0, float, " s"),
    )
    for name, says, bound, shown, unit in figures:
        if name in cost:
            yield Target(says, bound, shown(cost[name]), is_least=False, unit=unit)


def _watched(results: Results) -> Iterator[Target]:
    rates = _medians(results, "watched")
    if len(rates) == 2:  # noqa: PLR2004 - watched and not watched
        yield Target(
            "worker that is watched over one that is not", 0.95, rates["watched"] / rates["not watched"]
        )


def _page(results: Results) -> Iterator[Target]:
    for started, without, with_page in overhead(results.get("page", {"services": ()})):
        yield Target(f"throughput with an open page over none, {started}", 0.98, with_page / without)
