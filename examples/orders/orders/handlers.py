"""Handlers: orders gives an order its final status when the saga says so."""

from sqlalchemy import update

from examples.orders.events import CancelOrder, ConfirmOrder, OrderCancelled, OrderConfirmed
from examples.orders.orders.tables import OrderRow, Status, database
from nsqkit import Context, Handler


class Confirm(Handler[ConfirmOrder], channel="orders", once=database):
    """Confirms an order."""

    async def handle(self, event: ConfirmOrder, ctx: Context) -> None:
        """Write the status, and say so."""
        order = await _finished(ctx, event.order_id, Status.CONFIRMED, "")
        ctx.publish(OrderConfirmed(order.order_id, order.email, order.total_cents))


class Cancel(Handler[CancelOrder], channel="orders", once=database):
    """Cancels an order."""

    async def handle(self, event: CancelOrder, ctx: Context) -> None:
        """Write the status with the reason, and say so."""
        order = await _finished(ctx, event.order_id, Status.CANCELLED, event.reason)
        ctx.publish(OrderCancelled(order.order_id, order.email, event.reason))


async def _finished(ctx: Context, order_id: str, status: Status, reason: str) -> OrderRow:
    """Write the final status of an order, and return the order."""
    changed = update(OrderRow).where(OrderRow.order_id == order_id).values(status=status, reason=reason)
    found = await ctx.resource(database.session).scalars(changed.returning(OrderRow))
    ctx.log.info("order_finished", order=order_id, status=status.value, reason=reason)
    return found.one()
