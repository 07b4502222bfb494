"""Promises: what single phases promise beside that nothing is lost, checked line by line in their ledgers."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.chaos.orders import DEPENDENT, kind_of

Lines = Iterable[Sequence[str]]

ENDS = frozenset({"succeeded", "cancelled", "failed"})
_LEAST_SHARE_RATIO = 0.25
"""Of an even share: the least that an nsqd gets while messages wait on all of them."""
_SHOWN = 5


def named(what: str, orders: Iterable[str]) -> Iterator[str]:
    """Yield a line that counts and names orders, if there are any."""
    found = sorted(orders)
    if found:
        more = ", …" if len(found) > _SHOWN else ""
        yield f"{len(found)} {what}: {', '.join(found[:_SHOWN])}{more}"


def went_on(outages: Lines, workers: Lines) -> Iterator[str]:
    """Yield where an outage reached what does not need the dependency, or missed what needs it.

    Args:
        outages: The ledger of the outages.
        workers: Those of all workers, one behind another.
    """
    handled_s: defaultdict[str, float] = defaultdict(lambda: math.inf)
    met: set[str] = set()
    for what, order, at_s, *_ in workers:
        if what == "succeeded":
            handled_s[order] = min(handled_s[order], float(at_s))
        elif what == "failed":
            met.add(kind_of(order))
    due: set[str] = set()
    for what, subject in outages:
        if what == "due":
            due.add(subject)
        elif what == "back":
            late = [order for order in due if handled_s[order] > float(subject)]
            yield from named("waited for a dependency that they do not need", late)
            due.clear()
    needing = DEPENDENT.intersection(map(kind_of, handled_s))
    for kind in sorted(needing - met):
        yield f"no order of the kind {kind!r} met an outage"


def overheld(samples: Lines, limit: int) -> Iterator[str]:
    """Yield where a handler had too many messages in flight, and whether no handler was half-open.

    Args:
        samples: The ledger of what handlers hold.
        limit: How many messages each may have in flight.
    """
    most: Counter[tuple[str, str, str]] = Counter()
    for state, held, handler, worker in samples:
        most[state, handler, worker] = max(most[state, handler, worker], int(held))
    for (state, handler, worker), found in most.items():
        if found > limit:
            yield f"{handler} in {worker} had {found} messages in flight while {state}, of at most {limit}"
    if "half_open" not in {state for state, *_ in most}:
        yield "no handler was seen half-open"


def overrun(worker: Lines, limits: Mapping[str, int]) -> Iterator[str]:
    """Yield where one worker handled more orders of a kind at a time than it may.

    Args:
        worker: Its ledger.
        limits: How many orders of a kind it may handle at a time.
    """
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for what, order, *_ in worker:
        kind = kind_of(order)
        running[kind] += (what == "started") - (what in ENDS)
        most[kind] = max(most[kind], running[kind])
    for kind, limit in limits.items():
        if most[kind] > limit:
            yield f"{most[kind]} orders of the kind {kind!r} ran at a time, of at most {limit}"


def starved(workers: Lines, kinds: Iterable[str]) -> Iterator[str]:
    """Yield which nsqd got no fair part of the first half of all starts, while messages waited on all.

    Args:
        workers: Ledgers of all workers, one behind another.
        kinds: The kinds to check, each apart.
    """
    starts: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
    for what, order, at_s, *more in workers:
        if what == "started":
            starts[kind_of(order)].append((float(at_s), more[-1]))
    for kind in kinds:
        found = sorted(starts[kind])
        half = Counter(address for _, address in found[: len(found) // 2])
        shares = sorted(half[address] for address in {address for _, address in found})
        if min(shares, default=0) <= _LEAST_SHARE_RATIO * sum(shares) / max(1, len(shares)):
            yield f"the first starts of the kind {kind!r} came from the nsqd in parts of {shares}"
