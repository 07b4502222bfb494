"""A handler for `nsqkit run`, which does nothing with its orders."""

from handlers.orders import OrderCreated
from nsqkit import Context, Handler


class CountOrders(Handler[OrderCreated], topic="supervised", channel="bench", max_in_flight=200):
    """Takes orders; nsqkit counts them."""

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Do nothing: decoding is the work."""
