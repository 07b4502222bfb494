"""Handlers: orders places an order that arrives as an event, and gives an order its final status."""

from sqlalchemy import update

from examples.orders.events import CancelOrder, ConfirmOrder, OrderCancelled, OrderConfirmed, OrderRequested
from examples.orders.orders.order_book import NewOrder, PricedLine, row_of, start_of, with_key
from examples.orders.orders.tables import OrderRow, Status, database
from examples.orders.trace import Trace
from nsqkit import Context, DeadLetter, Handler


class Place(Handler[OrderRequested], channel="orders", once=database):
    """Places an order, as the edge does for a request; the id of the event is its key and the order's id."""

    async def handle(self, event: OrderRequested, ctx: Context) -> DeadLetter | None:
        """Write the order and start its saga, unless the event was here before."""
        order_id = str(ctx.event_id)  # once= refuses events without one
        session = ctx.resource(database.session)
        lines = tuple(PricedLine(line.product, line.quantity, line.amount_cents) for line in event.lines)
        new = NewOrder(f"event {order_id}", event.customer_id, event.email, lines)
        found = await with_key(session, new.idempotency_key)  # the inbox forgets after some days
        if found is None:
            row = row_of(new, Trace.of(ctx.traceparent), order_id)
            session.add(row)
            ctx.publish(start_of(row))
        elif found.request_hash != new.hash:
            return DeadLetter(f"the id {order_id} belongs to another order")
        return None


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
