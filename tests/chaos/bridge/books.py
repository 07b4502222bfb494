"""Books: which orders are lost, and which fault explains each duplicate. They change nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.ledger import CONFIRMED, Reader

ARRIVED: Final = "arrived.ledger"
FAULTS: Final = "faults.ledger"

BRIDGE, NSQD, KAFKA, RABBITMQ, SECOND = "bridge", "nsqd", "kafka", "rabbitmq", "second-bridge"
IN, OUT = "in", "out"

HOPS: Final[Mapping[str, frozenset[str]]] = {
    BRIDGE: frozenset({IN, OUT}),
    NSQD: frozenset({IN, OUT}),
    KAFKA: frozenset({IN}),
    RABBITMQ: frozenset({OUT}),
    SECOND: frozenset({IN}),
}
"""Where each fault may double an order: on the way in, so that it is handled twice, or on the way out."""
RETURN_HOPS: Final[Mapping[str, frozenset[str]]] = {**HOPS, KAFKA: frozenset({IN, OUT})}
"""The same if the way out leads back to Kafka."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that the partner has received.

    Args:
        order: Id of the order.
        notice: Id of the notice: the handler makes a new one each time.
        at_s: Seconds since the run began.
    """

    order: str
    notice: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, in seconds since the run began.

    Args:
        kind: What was stopped.
        began_s: When it began.
        ended_s: When orders passed again.
    """

    kind: str
    began_s: float
    ended_s: float

    def explains(
        self, duplicate: Arrival, hop: str, late_s: float, hops: Mapping[str, frozenset[str]] = HOPS
    ) -> bool:
        """Return whether this fault can have doubled an order.

        Args:
            duplicate: The arrival that is one too many.
            hop: Where it was doubled: ``IN`` or ``OUT``.
            late_s: Seconds after the fault in which its duplicates may arrive.
            hops: ``HOPS`` or ``RETURN_HOPS``.
        """
        return hop in hops[self.kind] and self.began_s <= duplicate.at_s <= self.ended_s + late_s


@dataclass(frozen=True, slots=True)
class Finding:
    """What has become of the orders of a run.

    Args:
        confirmed: Orders that Kafka has confirmed.
        arrived: Orders that have arrived at least once.
        lost: Confirmed orders that have not arrived.
        strange: Orders that have arrived, and were never written.
        duplicates: How many duplicates each kind of fault explains.
        unexplained: Duplicates that no fault explains.
        faults: The faults.
        took_s: Seconds of the run.
        covered_s: Seconds of the run in which a fault would explain a duplicate.
        codes: Exit codes of the bridges and the worker that got SIGTERM.
    """

    confirmed: int
    arrived: int
    lost: Sequence[str]
    strange: Sequence[str]
    duplicates: Mapping[str, int]
    unexplained: Sequence[str]
    faults: Sequence[Fault]
    took_s: float
    covered_s: float
    codes: Sequence[int | None]

    @property
    def problems(self) -> Iterator[str]:
        """What must not be, one line each."""
        yield from (f"lost: {order}" for order in self.lost)
        yield from (f"never written: {order}" for order in self.strange)
        yield from (f"unexplained duplicate: {duplicate}" for duplicate in self.unexplained)
        if any(self.codes):
            yield f"after SIGTERM: exit codes {', '.join(map(str, self.codes))}"


def read(
    folder: Path,
    written: int,
    *,
    late_s: float,
    took_s: float,
    codes: Sequence[int | None],
    hops: Mapping[str, frozenset[str]] = HOPS,
) -> Finding:
    """Compare the ledgers of a run.

    Args:
        folder: Folder of the ledgers.
        written: How many orders were written, confirmed or not.
        late_s: Seconds after a fault in which its duplicates may arrive.
        took_s: Seconds of the run.
        codes: Exit codes after SIGTERM.
        hops: ``HOPS`` or ``RETURN_HOPS``.
    """
    confirmed = {order for (order,) in Reader(folder / CONFIRMED).lines()}
    arrivals = [Arrival(order, notice, float(at)) for order, notice, at in Reader(folder / ARRIVED).lines()]
    faults = [
        Fault(kind, float(began), float(ended)) for kind, began, ended in Reader(folder / FAULTS).lines()
    ]
    arrived = {each.order for each in arrivals}
    explained: Counter[str] = Counter()
    unexplained = []
    for duplicate, hop in duplicates(arrivals):
        fault = next((each for each in faults if each.explains(duplicate, hop, late_s, hops)), None)
        if fault is None:
            unexplained.append(f"{duplicate.order}, {hop}, at {duplicate.at_s:.2f} s")
        else:
            explained[fault.kind] += 1
    return Finding(
        confirmed=len(confirmed),
        arrived=len(arrived),
        lost=sorted(confirmed - arrived),
        strange=sorted(arrived - {order_id(number) for number in range(written)}),
        duplicates=explained,
        unexplained=unexplained,
        faults=faults,
        took_s=took_s,
        covered_s=_covered_s(faults, late_s),
        codes=codes,
    )


def order_id(number: int) -> str:
    """Return the id of an order."""
    return f"order-{number}"


def duplicates(arrivals: Iterable[Arrival]) -> Iterator[tuple[Arrival, str]]:
    """Yield each arrival of an order after its first one, and where it was doubled."""
    notices: dict[str, set[str]] = {}
    for each in arrivals:
        known = notices.setdefault(each.order, set())
        if known:
            yield each, OUT if each.notice in known else IN
        known.add(each.notice)


def _covered_s(faults: Iterable[Fault], late_s: float) -> float:
    covered_s = until_s = 0.0
    for each in sorted(faults, key=lambda fault: fault.began_s):
        end_s = each.ended_s + late_s
        covered_s += max(0.0, end_s - max(until_s, each.began_s))
        until_s = max(until_s, end_s)
    return covered_s
