"""Order book: places and finds orders in the database. It knows neither gRPC nor NSQ's commands."""

import hashlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import msgspec
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from examples.orders.events import Line
from examples.orders.orders.placement import Placement, PlaceOrder
from examples.orders.orders.tables import OrderRow, Status
from examples.orders.trace import Trace
from nsqkit import AnyEvent
from nsqkit.sql import OutboxWriter

PAGE: Final = 100
"""Most orders that one transaction reads, so that a slow reader of a long list blocks nobody."""


class UnknownOrderError(Exception):
    """There is no order with this id."""


class KeyReusedError(Exception):
    """The idempotency key belongs to another request."""


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One product of a new order.

    Args:
        product: The product.
        quantity: Pieces, 1 or more.
        amount_cents: Price of the line, 0 or more.
    """

    product: str
    quantity: int
    amount_cents: int


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a customer orders.

    Args:
        idempotency_key: Chosen by the client; unique for each order.
        customer_id: The customer.
        email: Where to send mail; empty for none.
        lines: The products, 1 or more.
    """

    idempotency_key: str
    customer_id: str
    email: str
    lines: tuple[PricedLine, ...]

    @property
    def hash(self) -> str:
        """The same for two requests if, and only if, they ask for the same order."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def total_cents(self) -> int:
        """The sum of all lines."""
        return sum(line.amount_cents for line in self.lines)


class OrderBook:
    """The orders of one database.

    Args:
        outbox: The outbox of the database, open.
    """

    def __init__(self, outbox: OutboxWriter) -> None:
        self._outbox = outbox
        self._sessions = outbox.sessions

    async def place(self, new: NewOrder, trace: Trace) -> OrderRow:
        """Write an order and start its saga in one transaction, or return the order that has the key.

        Args:
            new: The order.
            trace: The request.

        Returns:
            The order. Its status may have changed since it was placed.

        Raises:
            KeyReusedError: If the key belongs to another request.
        """
        try:
            async with self._sessions.begin() as session:
                found = await with_key(session, new.idempotency_key)
                if found is None:
                    found = row_of(new, trace, str(uuid.uuid4()))
                    session.add(found)
                    self._outbox.add(session, start_of(found), attributes=_attributes(found, trace))
        except IntegrityError:  # another request with the key has committed in the meantime
            async with self._sessions.begin() as session:
                found = await with_key(session, new.idempotency_key)
            if found is None:
                raise
        if found.request_hash != new.hash:
            raise KeyReusedError(new.idempotency_key)
        return found

    async def get(self, order_id: str) -> OrderRow:
        """Return an order.

        Raises:
            UnknownOrderError: If there is none with this id.
        """
        async with self._sessions.begin() as session:
            found = await session.scalar(select(OrderRow).where(OrderRow.order_id == order_id))
        if found is None:
            raise UnknownOrderError(order_id)
        return found

    async def list(self, *, limit: int, after: str) -> AsyncIterator[OrderRow]:
        """Yield orders, oldest first; no transaction is open while the caller uses one.

        Args:
            limit: Most orders; 0 for all.
            after: Begin behind the order with this id; empty for the beginning.

        Raises:
            UnknownOrderError: If *after* is no order.
        """
        number = (await self.get(after)).number if after else 0
        left = limit
        while True:
            size = min(PAGE, left) if limit else PAGE
            page = await self._page(number, size)
            for each in page:
                yield each
            left -= len(page)
            if len(page) < size or (limit and not left):
                return
            number = page[-1].number

    async def _page(self, behind: int, size: int) -> Sequence[OrderRow]:
        chosen = select(OrderRow).where(OrderRow.number > behind).order_by(OrderRow.number).limit(size)
        async with self._sessions.begin() as session:
            return (await session.scalars(chosen)).all()


async def with_key(session: AsyncSession, key: str) -> OrderRow | None:
    """Return the order that has an idempotency key."""
    return await session.scalar(select(OrderRow).where(OrderRow.idempotency_key == key))


def row_of(new: NewOrder, trace: Trace, order_id: str) -> OrderRow:
    """Return the row of a new order."""
    return OrderRow(
        order_id=order_id,
        idempotency_key=new.idempotency_key,
        request_hash=new.hash,
        trace_id=trace.trace_id,
        customer_id=new.customer_id,
        email=new.email,
        lines=[asdict(line) for line in new.lines],
        total_cents=new.total_cents,
        status=Status.PENDING,
        reason="",
        created_at_ms=time.time_ns() // 1_000_000,
    )


def start_of(row: OrderRow) -> AnyEvent:
    """Return the event that starts the saga; all events of the order have its id as ``correlationid``."""
    lines = tuple(Line(line["product"], line["quantity"]) for line in row.lines)
    placement = Placement(row.order_id, row.email, lines, row.total_cents)
    return PlaceOrder.start(row.order_id, placement, correlation_id=row.order_id)


def _attributes(row: OrderRow, trace: Trace) -> dict[str, str]:
    return {"correlationid": row.order_id, "traceparent": trace.traceparent}
