"""A handler without an inbox, to see that the tool notices an effect that happens twice."""

from sqlalchemy import text

from nsqkit import Context, Handler
from tests.chaos.effects.shop import Order, Placed, Sale, database


class Careless(Handler[Placed], channel="effects", uses=[database.session]):
    async def handle(self, event: Placed, ctx: Context) -> None:
        await ctx.resource(database.session).execute(
            text("INSERT INTO accepted VALUES (:id)"), {"id": event.order_id}
        )
        ctx.publish(Sale.start(event.order_id, Order(event.order_id)))
