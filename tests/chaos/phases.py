"""Phases: one sort of trouble each, and one with all of it. It carries nothing out."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle

from tests.chaos import faults
from tests.chaos import orders as kinds

HANDLERS = ("tests.chaos.handlers:Orders", "tests.chaos.handlers:Mails")
DEPENDENTS = tuple(f"tests.chaos.dependents:{name}" for name in ("Guarded", "Pausing", "Switched"))
NARROW = ("tests.chaos.narrow:Single", "tests.chaos.narrow:Triple")
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
_MANY_NSQD = 4
_DEAF = 30
_DEPENDENT = 60
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
        topics: Of the targets.
        nsqd: How many nsqd there are.
        max_lease_s: nsqd's max-msg-timeout, in whole seconds.
        outage_s: How long the dependency is away at a time, at least; seconds.
        max_held: How many messages a handler may have in flight in a worker; 0 for no check of that.
        max_running: How many orders of certain kinds a worker may handle at a time. While many wait, each
            nsqd must get a part of that.
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
    topics: tuple[str, ...] = (kinds.ORDERS, kinds.MAILS)
    nsqd: int = 2
    max_lease_s: int = 900
    outage_s: float = 0.0
    max_held: int = 0
    max_running: Mapping[str, int] = field(default_factory=dict)


def phases(
    plan: Mapping[str, int], orders: int, *, workers: int, rate_per_s: float, seed: int
) -> list[Phase]:
    """Return the phases: each sort of trouble alone, in a tenth of the orders, and most of them together.

    Args:
        plan: How many faults of each sort, where all come together; a fifth of that, alone.
        orders: How many are published, where all come together.
        workers: How many there are at a time.
        rate_per_s: Orders per second, where all come together; half of that, alone.
        seed: Of all draws.
    """
    phase = partial(
        Phase, orders=max(_FEWEST, orders // 10), workers=workers, rate_per_s=rate_per_s / 2, seed=seed
    )
    alone = [
        phase(
            f"{sort}s",
            weights=_CALM,
            faults={sort: max(2, math.ceil(count / 5))},
            is_clean=sort == faults.DEPLOY,
            lease_s=_LONG_LEASE_S if sort == faults.DEPLOY else 3.0,
        )
        for sort, count in plan.items()
        if count
    ]
    together = {sort: count for sort, count in plan.items() if count}
    everything = Phase(
        "everything", orders, _WILD, together, workers=workers, rate_per_s=rate_per_s, lease_s=5.0, seed=seed
    )
    deploys = max(1, math.ceil(plan.get(faults.DEPLOY, 0) / 10))
    return [
        phase("handlers", weights=_HARD, faults={}),
        *alone,
        everything,
        _outage(phase),
        _half_open(phase),
        _few_in_flight(phase),
        _deaf(phase, deploys),
        poisoned(seed=seed),
    ]


def _outage(phase: Callable[..., Phase]) -> Phase:
    """Return the phase of an outage that lasts longer than workers may keep a message, and meets few of them.

    A few messages are delivered again and again; of many, each would be delivered once or twice.
    """
    size = phase("outage", weights={kinds.QUICK: 9, kinds.PLAIN: 1}, faults={faults.OUTAGE: 1})
    half = size.orders // 2
    needing = zip(range(half, half + _DEPENDENT), cycle(sorted(kinds.DEPENDENT)))
    return replace(
        size,
        special=dict(needing),
        lease_s=1.5,
        targets=(*HANDLERS, *DEPENDENTS),
        only_valid=True,
        topics=(kinds.ORDERS, kinds.MAILS, kinds.BREAKERS, kinds.PAUSES, kinds.SWITCHES),
        max_lease_s=3,
        outage_s=max(12.0, size.orders / size.rate_per_s),
    )


def _half_open(phase: Callable[..., Phase]) -> Phase:
    """Return the phase of many trials while messages wait on more than one nsqd, on one worker.

    Beyond ``max_in_flight`` it may hold one message of each nsqd that was on its way when its RDY went down,
    and as many that trials brought after all others had failed theirs.
    """
    return phase(
        "half-open",
        weights={kinds.SWITCHED: 1.0},
        faults={faults.OUTAGE: 1},
        workers=1,
        rate_per_s=math.inf,
        lease_s=_LONG_LEASE_S,
        targets=DEPENDENTS[-1:],
        only_valid=True,
        max_ahead=200,
        topics=(kinds.SWITCHES,),
        nsqd=_MANY_NSQD,
        outage_s=10.0,
        max_held=kinds.MAX_IN_FLIGHT[kinds.SWITCHED] + 2 * _MANY_NSQD,
    )


def _few_in_flight(phase: Callable[..., Phase]) -> Phase:
    """Return the phase of handlers with fewer messages in flight than there are nsqd with a backlog."""
    size = phase(
        "few-in-flight",
        weights={kinds.SINGLE: 1.0, kinds.TRIPLE: 3.0},
        faults={},
        workers=2,
        rate_per_s=math.inf,
        targets=NARROW,
        only_valid=True,
        topics=(kinds.ONE, kinds.THREE),
        nsqd=_MANY_NSQD,
        max_running={kind: kinds.MAX_IN_FLIGHT[kind] for kind in (kinds.SINGLE, kinds.TRIPLE)},
    )
    return replace(size, orders=2 * size.orders)  # the rarer kind needs some on every nsqd


def _deaf(phase: Callable[..., Phase], deploys: int) -> Phase:
    """Return the phase of deploys while some handlers ignore their cancellation.

    nsqd may deliver a message again to the same worker. That keeps it until max-msg-timeout while its earlier
    call goes on: so nsqd's is short.
    """
    size = phase("deaf", weights={kinds.QUICK: 1.0}, faults={faults.DEPLOY: deploys}, only_valid=True)
    deaf = range(0, size.orders, size.orders // _DEAF)
    return replace(size, special=dict.fromkeys(deaf, kinds.DEAF), lease_s=1.5)


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
