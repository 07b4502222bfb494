"""Handlers: inventory reserves the stock of an order, all lines or none, and gives it back."""

from collections.abc import Sequence

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from examples.orders.events import (
    Line,
    ReleaseStock,
    ReserveStock,
    StockRefused,
    StockReleased,
    StockReserved,
)
from examples.orders.inventory.tables import Reservation, ReservationStatus, Stock, database
from nsqkit import Context, Handler


class Reserve(Handler[ReserveStock], channel="inventory", once=database):
    """Reserves every line of an order, or none."""

    async def handle(self, event: ReserveStock, ctx: Context) -> None:
        """Take the pieces from the stock, and reply."""
        session = ctx.resource(database.session)
        if await session.get(Reservation, event.order_id):  # the saga has given up already
            return
        lines = sorted(event.lines, key=lambda line: line.product)
        if missing := await _take(session, lines):
            found = Reservation(order_id=event.order_id, status=ReservationStatus.REFUSED, lines=[])
            ctx.publish(StockRefused(event.order_id, f"not enough stock of {missing}"))
        else:
            taken = [{"product": line.product, "quantity": line.quantity} for line in lines]
            found = Reservation(order_id=event.order_id, status=ReservationStatus.RESERVED, lines=taken)
            ctx.publish(StockReserved(event.order_id))
        session.add(found)


class Release(Handler[ReleaseStock], channel="inventory", once=database):
    """Gives the pieces of an order back. An order that has none yet will get none."""

    async def handle(self, event: ReleaseStock, ctx: Context) -> None:
        """Put the pieces back into the stock."""
        session = ctx.resource(database.session)
        found = await session.get(Reservation, event.order_id, with_for_update=True)
        if found is None:  # the command to reserve may still arrive
            found = Reservation(order_id=event.order_id, lines=[])
            session.add(found)
        for line in found.lines if found.status == ReservationStatus.RESERVED else ():
            await _add(session, line["product"], line["quantity"])
        found.status = ReservationStatus.RELEASED
        ctx.publish(StockReleased(event.order_id))


async def _take(session: AsyncSession, lines: Sequence[Line]) -> str:
    """Take all lines from the stock, or none; return the product that lacks pieces, or ''.

    All handlers change products in the order of their names, so no two wait for each other on PostgreSQL.
    """
    for place, line in enumerate(lines):
        if not await _add(session, line.product, -line.quantity):
            for taken in lines[:place]:
                await _add(session, taken.product, taken.quantity)
            return line.product
    return ""


async def _add(session: AsyncSession, product: str, quantity: int) -> bool:
    """Change the free pieces of a product; return False, with nothing changed, if there are too few."""
    changed = (
        update(Stock)
        .where(Stock.product == product, Stock.free + quantity >= 0)
        .values(free=Stock.free + quantity)
        .returning(Stock.product)
        .execution_options(synchronize_session=False)
    )
    return await session.scalar(changed) is not None
