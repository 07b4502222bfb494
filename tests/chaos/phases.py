"""Phases: one sort of trouble each, and one with all of it. It carries nothing out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chaos import faults
from tests.chaos import orders as kinds

HANDLERS = ("tests.chaos.handlers:Orders", "tests.chaos.handlers:Mails")
POISONED = ("tests.chaos.handlers:PoisonedOrders",)

_CALM: Mapping[str, float] = {kinds.QUICK: 85, kinds.SLOW: 5, kinds.PLAIN: 10}
_HARD: Mapping[str, float] = {
    kinds.QUICK: 76,
    kinds.SLOW: 3,
    kinds.FLAKY: 3,
    kinds.HOPELESS: 3,
    kinds.HANGING: 3,
    kinds.GREEDY: 2,
    kinds.PLAIN: 8,
    kinds.BLOCKED: 2,
}
_WILD: Mapping[str, float] = {
    kinds.QUICK: 82.9,
    kinds.SLOW: 3,
    kinds.FLAKY: 3,
    kinds.HOPELESS: 0.5,
    kinds.HANGING: 0.3,
    kinds.GREEDY: 0.2,
    kinds.PLAIN: 10,
    kinds.BLOCKED: 0.1,
}
_LONG_LEASE_S = 60.0
_FEWEST = 300


@dataclass(frozen=True, slots=True)
class Phase:
    """What one phase does.

    Args:
        name: What to call it.
        orders: How many are to be confirmed, at least.
        weights: How often each kind of order is drawn.
        faults: How many of each sort.
        workers: How many there are at a time.
        rate_per_s: Orders per second.
        lease_s: The message timeout that workers ask for.
        seed: Of all draws.
        is_clean: Whether nothing may time out, and only what was cancelled may be handled twice.
        may_crash: Whether workers end by themselves.
        targets: What the workers run.
        special: Kinds of certain orders, by number.
        only_valid: Whether to leave out what the sample has of undecodable orders.
        max_ahead: How many orders may be confirmed and not yet handled.
    """

    name: str
    orders: int
    weights: Mapping[str, float]
    faults: Mapping[str, int]
    workers: int = 3
    rate_per_s: float = 400.0
    lease_s: float = 3.0
    seed: int = 1
    is_clean: bool = False
    may_crash: bool = False
    targets: tuple[str, ...] = HANDLERS
    special: Mapping[int, str] = field(default_factory=dict)
    only_valid: bool = False
    max_ahead: float = math.inf


def phases(
    plan: Mapping[str, int], orders: int, *, workers: int, rate_per_s: float, seed: int
) -> list[Phase]:
    """Return the phases: each sort of trouble alone, in a tenth of the orders, and all of them together.

    Args:
        plan: How many faults of each sort, where all come together; a fifth of that, alone.
        orders: How many are published, where all come together.
        workers: How many there are at a time.
        rate_per_s: Orders per second, where all come together; half of that, alone.
        seed: Of all draws.
    """

    def phase(name: str, weights: Mapping[str, float], own: Mapping[str, int], **rest: Any) -> Phase:
        return Phase(
            name,
            max(_FEWEST, orders // 10),
            weights,
            own,
            workers=workers,
            rate_per_s=rate_per_s / 2,
            seed=seed,
            **rest,
        )

    alone = [
        phase(
            f"{sort}s",
            _CALM,
            {sort: max(2, math.ceil(count / 5))},
            **({"is_clean": True, "lease_s": _LONG_LEASE_S} if sort == faults.DEPLOY else {}),
        )
        for sort, count in plan.items()
        if count
    ]
    together = {sort: count for sort, count in plan.items() if count}
    everything = Phase(
        "everything", orders, _WILD, together, workers=workers, rate_per_s=rate_per_s, lease_s=5.0, seed=seed
    )
    return [phase("handlers", _HARD, {}), *alone, everything]


def poisoned(*, healthy: int = 200, seed: int = 1) -> Phase:
    """Return the phase of one poisonous order among healthy ones, on one worker."""
    return Phase(
        "poison",
        healthy + 1,
        {kinds.QUICK: 1.0},
        {},
        workers=1,
        rate_per_s=math.inf,
        lease_s=1.0,
        seed=seed,
        may_crash=True,
        targets=POISONED,
        special={healthy // 2: kinds.POISON},
        only_valid=True,
    )


def many(orders: int) -> Phase:
    """Return the phase of many orders that take no time, on one worker."""
    return Phase(
        "memory",
        orders,
        {kinds.INSTANT: 1.0},
        {},
        workers=1,
        rate_per_s=math.inf,
        lease_s=_LONG_LEASE_S,
        is_clean=True,
        only_valid=True,
        max_ahead=50_000,
    )
