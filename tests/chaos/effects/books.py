"""Books: what the shop's database and its ledger say of each order. They change nothing."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text

from tests.chaos.effects.points import Point
from tests.chaos.effects.shop import CALLS, LATE
from tests.chaos.ledger import Reader

TABLES: Final = (
    "CREATE TABLE requests (id TEXT)",
    "CREATE TABLE accepted (id TEXT)",
    "CREATE TABLE stock (id TEXT, change INTEGER)",
)
_LEFT: Final = (
    "SELECT count(*) FROM nsqkit_outbox WHERE sent_at IS NULL AND parked_at IS NULL",
    "SELECT count(*) FROM nsqkit_saga WHERE status IN ('running', 'compensating')",
)


@dataclass(frozen=True, slots=True)
class Books:
    """The effects of a run.

    Args:
        requests: Orders whose request was committed, in order.
        accepted: Rows of the first handler, by order.
        stock: Changes by the second handler, by order.
        sagas: Statuses, by order.
        calls: Idempotency keys of the calls that took effect, by order.
    """

    requests: Sequence[str]
    accepted: Counter[str] = field(default_factory=Counter)
    stock: dict[str, list[int]] = field(default_factory=dict)
    sagas: dict[str, str] = field(default_factory=dict)
    calls: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, connection: Connection, folder: Path) -> "Books":
        """Return what a run has left.

        Args:
            connection: A connection to the shop's database.
            folder: Folder of the run.
        """

        def rows(query: str) -> list[tuple[str, ...]]:
            return [tuple(row) for row in connection.execute(text(query))]

        stock: dict[str, list[int]] = {}
        for order_id, change in connection.execute(text("SELECT id, change FROM stock ORDER BY change DESC")):
            stock.setdefault(order_id, []).append(change)
        calls: dict[str, list[str]] = {}
        for order_id, key in Reader(folder / CALLS).lines():
            calls.setdefault(order_id, []).append(key)
        return cls(
            requests=[order_id for (order_id,) in rows("SELECT id FROM requests")],
            accepted=Counter(order_id for (order_id,) in rows("SELECT id FROM accepted")),
            stock=stock,
            sagas=dict(rows("SELECT key, status FROM nsqkit_saga")),  # type: ignore[arg-type] # two columns
            calls=calls,
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """What has become of the orders of one point.

    Args:
        point: Its name.
        kills: Processes that died there.
        orders: How many there were.
        completed: Orders whose saga completed.
        compensated: Orders whose saga was compensated.
        lost: Orders of which an event or an effect is missing.
        twice: Orders of which an effect has happened twice, or undoes nothing.
    """

    point: str
    kills: int
    orders: int
    completed: int
    compensated: int
    lost: tuple[str, ...]
    twice: tuple[str, ...]

    @property
    def is_right(self) -> bool:
        """Whether nothing is missing, nothing happened twice, and every saga has ended as it should."""
        ended = self.completed + self.compensated
        return not self.lost and not self.twice and ended == self.orders


def finding(books: Books, point: str, kills: int) -> Finding:
    """Return what has become of the orders of a point, whose ids begin with its name.

    Args:
        books: The effects of the run.
        point: Its name.
        kills: Processes that died there.
    """
    orders = [each for each in books.requests if each.startswith(f"{point}-")]
    statuses = Counter(books.sagas.get(each) for each in orders)
    return Finding(
        point=point,
        kills=kills,
        orders=len(orders),
        completed=statuses["completed"],
        compensated=statuses["compensated"],
        lost=tuple(each for each in orders if _misses(books, each)),
        twice=tuple(each for each in orders if _has_twice(books, each)),
    )


def strangers(books: Books) -> set[str]:
    """Return orders that have an effect although their request was not committed."""
    effects = (books.accepted, books.stock, books.sagas, books.calls)
    return {order_id for each in effects for order_id in each} - set(books.requests)


def left(connection: Connection) -> int:
    """Return how many events wait in the outbox, and how many sagas have not ended."""
    return sum(connection.execute(text(query)).scalar_one() for query in _LEFT)


def _expected(order_id: str) -> tuple[str, list[int], int]:
    """Return the status, the changes of the stock, and the number of payments of an order."""
    return ("compensated", [1, -1], 0) if order_id.endswith(LATE) else ("completed", [1], 1)


def _misses(books: Books, order_id: str) -> bool:
    status, changes, paid = _expected(order_id)
    missing = Counter(changes) - Counter(books.stock.get(order_id, ()))
    is_unpaid = len(set(books.calls.get(order_id, ()))) < paid
    return not books.accepted[order_id] or books.sagas.get(order_id) != status or bool(missing) or is_unpaid


def _has_twice(books: Books, order_id: str) -> bool:
    _, changes, paid = _expected(order_id)
    surplus = Counter(books.stock.get(order_id, ())) - Counter(changes)
    return books.accepted[order_id] > 1 or bool(surplus) or len(set(books.calls.get(order_id, ()))) > paid


def table(points: Iterable[Point], findings: Iterable[Finding]) -> Iterator[str]:
    """Yield the lines of a Markdown table.

    Args:
        points: The points.
        findings: What was found at each.
    """
    yield "| process | killed | kills | orders | lost | twice | completed | compensated |"
    yield "|---|---|--:|--:|--:|--:|--:|--:|"
    for point, each in zip(points, findings, strict=True):
        counts = (each.kills, each.orders, len(each.lost), len(each.twice), each.completed, each.compensated)
        yield f"| {point.role} | {point.where} | {' | '.join(f'{count:,}' for count in counts)} |"
