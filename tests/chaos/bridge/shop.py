"""Shop: the handler between the two routes, which publishes a notice for each order. It knows no bridge."""

from typing import Final

import msgspec

from nsqkit import Context, Handler, event

ORDERS: Final = "chaos_bridge_orders"
NOTICES: Final = "chaos_bridge_notices"
RETURNS: Final = "chaos_bridge_returns"


@event("chaos.bridge.ordered", version=1, topic=ORDERS)
class Ordered(msgspec.Struct, frozen=True):
    order_id: str


@event("chaos.bridge.notified", version=1, topic=NOTICES)
class Notified(msgspec.Struct, frozen=True):
    order_id: str


class Notify(Handler[Ordered], channel="notify"):
    async def handle(self, event: Ordered, ctx: Context) -> None:
        ctx.publish(Notified(event.order_id))
