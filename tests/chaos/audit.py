"""Audit: compares the ledgers of a phase, and nothing else. It shares no state with what wrote them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from tests.chaos import checkup
from tests.chaos.about import About, load
from tests.chaos.ledger import CONFIRMED, DEAD, HELD, OUTAGES, WORKERS, Reader
from tests.chaos.orders import DEAD_LETTERS, DEAF, kind_of
from tests.chaos.promises import ENDS, named, overheld, overrun, starved, went_on


@dataclass(frozen=True, slots=True)
class Tally:
    """Numbers of orders.

    Args:
        confirmed: nsqd said OK to their publish.
        succeeded: Of those, handled with success at least once.
        dead_lettered: Of those, that have a dead letter.
        duplicated: That ended more than once, by success or dead letter.
        extra: That ended though their publish was never confirmed.
        lost: Confirmed, and neither handled with success nor a dead letter.
    """

    confirmed: int = 0
    succeeded: int = 0
    dead_lettered: int = 0
    duplicated: int = 0
    extra: int = 0
    lost: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(Tally)))


@dataclass(frozen=True, slots=True)
class Ledgers:
    """What the ledgers of one phase say.

    Args:
        confirmed: Ids of the orders whose publish nsqd confirmed.
        succeeded: How often each was handled with success.
        dead: The reason of each dead letter, by order; several where there are several.
        started: How often each was handed to a handler.
        cancelled: How often each was cancelled while it was handled.
        deaf: How many handlers ignored their cancellation to the end of their worker, by its name.
    """

    confirmed: frozenset[str]
    succeeded: Mapping[str, int]
    dead: Mapping[str, tuple[str, ...]]
    started: Mapping[str, int]
    cancelled: Mapping[str, int]
    deaf: Mapping[str, int]

    def lost(self) -> list[str]:
        """Return the orders that are lost."""
        return sorted(self.confirmed - self.succeeded.keys() - self.dead.keys())

    def tallies(self) -> dict[str, Tally]:
        """Return the numbers by kind of order."""
        ends: Counter[str] = Counter(self.succeeded)
        ends.update({order: len(reasons) for order, reasons in self.dead.items()})
        counts = {
            "confirmed": self.confirmed,
            "succeeded": self.confirmed & self.succeeded.keys(),
            "dead_lettered": self.confirmed & self.dead.keys(),
            "duplicated": {order for order, times in ends.items() if times > 1},
            "extra": ends.keys() - self.confirmed,
            "lost": self.lost(),
        }
        by_kind = {name: Counter(map(kind_of, orders)) for name, orders in counts.items()}
        kinds = sorted({kind for found in by_kind.values() for kind in found})
        return {kind: Tally(**{name: found[kind] for name, found in by_kind.items()}) for kind in kinds}


@dataclass(frozen=True, slots=True)
class Finding:
    """What the audit of one phase found.

    Args:
        about: The phase.
        tallies: The numbers by kind of order.
        cancelled: How many orders were cancelled while they were handled, by a timeout or a deploy.
        problems: What is not as promised, a line each.
    """

    about: About
    tallies: Mapping[str, Tally]
    cancelled: int
    problems: tuple[str, ...]

    @property
    def total(self) -> Tally:
        """The numbers of all kinds together."""
        return sum(self.tallies.values(), Tally())


def audit(folder: Path) -> Finding:
    """Audit one phase."""
    about, ledgers = load(folder), read(folder)
    found = (*problems(about, ledgers), *_special(about, folder))
    return Finding(about, ledgers.tallies(), len(ledgers.cancelled), found)


def read(folder: Path) -> Ledgers:
    """Read the ledgers of one phase."""
    confirmed = frozenset(order for (order,) in Reader(folder / CONFIRMED).lines())
    dead: dict[str, tuple[str, ...]] = {}
    for order, reason in Reader(folder / DEAD).lines():
        dead[order] = (*dead.get(order, ()), reason)
    told: dict[str, Counter[str]] = {}
    deaf: Counter[str] = Counter()
    for path in folder.glob(WORKERS):
        for what, order, *_ in Reader(path).lines():
            told.setdefault(what, Counter())[order] += 1
            if kind_of(order) == DEAF:
                deaf[path.stem] += (what == "started") - (what in ENDS)
    none: Counter[str] = Counter()
    return Ledgers(
        confirmed,
        told.get("succeeded", none),
        dead,
        told.get("started", none),
        told.get("cancelled", none),
        deaf,
    )


def problems(about: About, ledgers: Ledgers) -> Iterator[str]:
    """Yield what is not as promised; nothing where all is well."""
    yield from named("lost", ledgers.lost())
    if not ledgers.confirmed:
        yield "no order was confirmed, so nothing is proved"
    wrong = (order for order, reasons in ledgers.dead.items() if not _may_be_dead(order, reasons))
    yield from named("dead-lettered for a reason that is not theirs", wrong)
    for sort, count in about.planned.items():
        if about.faults.get(sort, 0) < count:
            yield f"only {about.faults.get(sort, 0)} of {count} faults of the sort {sort!r} were carried out"
    if about.left:
        yield f"nsqd still had {about.left} messages when the time was over"
    yield from about.unexpected
    yield from about.miscounts
    yield from _exits(about, ledgers)
    if about.is_clean:
        yield from _unclean(about, ledgers)


def _exits(about: About, ledgers: Ledgers) -> Iterator[str]:
    """Yield each worker that got SIGTERM and did not end as it should."""
    for worker, code in about.exit_codes.items():
        allowed = {1} if ledgers.deaf.get(worker) else {0, 1} if about.may_leave else {0}
        if code not in allowed:
            yield f"{worker} was told to stop, and ended with {code}"
    if any(kind_of(order) == DEAF for order in ledgers.confirmed) and not any(ledgers.deaf.values()):
        yield "no worker was told to stop while a handler ignored its cancellation"


def _special(about: About, folder: Path) -> Iterator[str]:
    """Yield what is not as this phase alone promises."""
    if (soaked := checkup.load(folder)) is not None:
        yield from checkup.broken(soaked)
    workers = sorted(folder.glob(WORKERS))
    if outages := list(Reader(folder / OUTAGES).lines()):
        yield from went_on(outages, _lines(workers))
    if about.max_held:
        yield from overheld(Reader(folder / HELD).lines(), about.max_held)
    if about.max_running:
        for path in workers:
            yield from (f"{path.stem}: {each}" for each in overrun(_lines([path]), about.max_running))
        yield from starved(_lines(workers), about.max_running)


def _lines(paths: Iterable[Path]) -> Iterator[list[str]]:
    for path in paths:
        yield from Reader(path).lines()


def _may_be_dead(order: str, reasons: Iterable[str]) -> bool:
    return set(reasons) == {DEAD_LETTERS.get(kind_of(order))}


def _unclean(about: About, ledgers: Ledgers) -> Iterator[str]:
    if about.timeouts:
        yield f"nsqd counted {about.timeouts} timeouts"
    again = (
        order for order, times in ledgers.started.items() if times != 1 + ledgers.cancelled.get(order, 0)
    )
    yield from named("handled more than once though never cancelled", again)
