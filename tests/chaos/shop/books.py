"""Books: what the databases of the order system say after a run, and where they disagree."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, create_engine, select, text

from examples.orders.inventory.shelves import PIECES
from examples.orders.inventory.tables import Reservation, ReservationStatus
from examples.orders.schema import SERVICES
from nsqkit import Settings
from nsqkit.sql.urls import DatabaseUrl

_ENDS = {"completed": "confirmed", "compensated": "cancelled"}


@dataclass(frozen=True)
class Order:
    """One order, in the database of orders.

    Args:
        status: Its status.
        total_cents: Its total.
        saga: The status of its saga; empty if it has none.
    """

    status: str
    total_cents: int
    saga: str


@dataclass(frozen=True)
class Books:
    """All books at one time; orders by their ids.

    Args:
        orders: The orders.
        free: Free pieces, by product.
        reserved: Pieces that orders have, by product.
        reservations: The status of each reservation.
        charges: The status of each charge, in the database of payments.
        bank: Charged minus refunded cents of each charge that is not 0, at the gateway.
        charged_cents: All that the gateway has charged.
        refunded_cents: All that it has given back.
        mails: The subjects of the mails to each order.
        sent: Events that the outboxes have published.
        unsent: Events that wait in the outboxes.
        parked: Events that can never be published.
    """

    orders: Mapping[str, Order]
    free: Mapping[str, int]
    reserved: Mapping[str, int]
    reservations: Mapping[str, str]
    charges: Mapping[str, str]
    bank: Mapping[str, int]
    charged_cents: int
    refunded_cents: int
    mails: Mapping[str, Sequence[str]]
    sent: int
    unsent: int
    parked: int

    def having(self, status: str) -> set[str]:
        """Return the orders that have a status."""
        return {key for key, order in self.orders.items() if order.status == status}

    def problems(self, placed: Sequence[str]) -> Iterator[str]:
        """Yield where the books disagree, or what has not ended.

        Args:
            placed: The order of each answer to a customer.
        """
        confirmed = self.having("confirmed")
        yield from _different("orders", set(placed), set(self.orders))
        if len(placed) != len(set(placed)):
            yield f"{len(placed) - len(set(placed))} orders answer two customers"
        for key, order in self.orders.items():
            if _ENDS.get(order.saga) != order.status:
                yield f"{key} is {order.status}, and its saga is {order.saga or 'missing'}"
        yield from _different(
            "reservations of confirmed orders", confirmed, _of(self.reservations, "reserved")
        )
        yield from _different("charges of confirmed orders", confirmed, _of(self.charges, "charged"))
        for product, free in self.free.items():
            if (total := free + self.reserved.get(product, 0)) != PIECES:
                yield f"{product}: {free} free and reserved pieces are {total}, not {PIECES}"
        totals = {key: self.orders[key].total_cents for key in confirmed}
        if totals != self.bank:
            wrong = sorted(dict(totals.items() ^ self.bank.items()))
            yield f"the bank and the confirmed orders disagree about {_some(wrong)}"
        for key, order in self.orders.items():
            wanted = ["received", order.status]
            if sorted(self.mails.get(key, ())) != sorted(f"Your order is {each}" for each in wanted):
                yield f"{key} is {order.status}, and has the mails {list(self.mails.get(key, ()))}"
        if self.unsent or self.parked:
            yield f"{self.unsent} events wait in the outboxes, and {self.parked} are parked"


class Reader:
    """Reads the books, again and again.

    Args:
        settings: The URLs of the databases, and the file of the gateway.
    """

    def __init__(self, settings: Settings) -> None:
        urls = {name: DatabaseUrl.read(name, settings).plain for name in SERVICES}
        self._engines: dict[str, Engine] = {name: create_engine(url) for name, url in urls.items()}
        self._engines["gateway"] = create_engine(f"sqlite:///{settings.app_text('gateway_file', '')}")

    def read(self) -> Books:
        """Return the books of now."""
        sagas = dict(self._rows("orders", "SELECT key, status FROM nsqkit_saga"))
        orders = self._rows("orders", "SELECT order_id, status, total_cents FROM orders")
        charges = self._rows("gateway", "SELECT key, cents, refunded FROM charges")
        mails: dict[str, list[str]] = {}
        for key, subject in self._rows("notifications", "SELECT order_id, subject FROM mails"):
            mails.setdefault(key, []).append(subject)
        outboxes = [self._rows(name, _OUTBOX)[0] for name in SERVICES]
        return Books(
            orders={key: Order(status, total, sagas.get(key, "")) for key, status, total in orders},
            free=dict(self._rows("inventory", "SELECT product, free FROM stock")),
            reserved=self._reserved(),
            reservations=dict(self._rows("inventory", "SELECT order_id, status FROM reservations")),
            charges=dict(self._rows("payments", "SELECT order_id, status FROM charges")),
            bank={key: cents for key, cents, refunded in charges if cents and not refunded},
            charged_cents=sum(cents for _, cents, _ in charges),
            refunded_cents=sum(cents for _, cents, refunded in charges if refunded),
            mails=mails,
            sent=sum(sent for sent, _, _ in outboxes),
            unsent=sum(unsent for _, unsent, _ in outboxes),
            parked=sum(parked for _, _, parked in outboxes),
        )

    def events(self) -> Mapping[str, int]:
        """Return how many events the outboxes have, by topic."""
        found: Counter[str] = Counter()
        for name in SERVICES:
            found.update(dict(self._rows(name, "SELECT topic, count(*) FROM nsqkit_outbox GROUP BY topic")))
        return found

    def inboxes(self) -> Mapping[tuple[str, str, str], int]:
        """Return how many events the inboxes have, by topic, channel and name of the handler."""
        rows = [row for name in SERVICES for row in self._rows(name, _INBOX)]
        return {(topic, channel, handler): count for topic, channel, handler, count in rows}

    def close(self) -> None:
        """Close all connections."""
        for engine in self._engines.values():
            engine.dispose()

    def _reserved(self) -> Mapping[str, int]:
        found: Counter[str] = Counter()
        reserved = select(Reservation.lines).where(Reservation.status == ReservationStatus.RESERVED)
        with self._engines["inventory"].connect() as connection:
            for lines in connection.scalars(reserved):
                for line in lines:
                    found[line["product"]] += line["quantity"]
        return found

    def _rows(self, name: str, query: str) -> list[Any]:
        with self._engines[name].connect() as connection:
            return list(connection.execute(text(query)))


_OUTBOX = """
    SELECT count(sent_at), count(*) - count(sent_at) - count(parked_at), count(parked_at) FROM nsqkit_outbox
"""

_INBOX = "SELECT topic, channel, handler, count(*) FROM nsqkit_inbox GROUP BY topic, channel, handler"


def _of(statuses: Mapping[str, str], wanted: str) -> set[str]:
    return {key for key, status in statuses.items() if status == wanted}


def _different(what: str, wanted: set[str], found: set[str]) -> Iterator[str]:
    if missing := wanted - found:
        yield f"{what}: {len(missing)} are missing, such as {_some(missing)}"
    if surplus := found - wanted:
        yield f"{what}: {len(surplus)} too many, such as {_some(surplus)}"


def _some(keys: Iterable[str]) -> str:
    return ", ".join(sorted(keys)[:3])
