"""A shop whose every effect is counted: an event, a handler's rows, a saga's commands, and a call."""

import msgspec
from sqlalchemy import text

from nsqkit import Context, Handler, event
from nsqkit.sql import Database
from nsqkit.sql.saga import Call, CallContext, Refused, Saga, Send, Step
from tests.chaos.effects.points import killers, pass_by
from tests.chaos.ledger import Ledger

CALLS = "calls.ledger"
LATE = "-late"
"""How the id of an order ends whose payment is refused."""
database = Database("effects")


@event("effects.placed", version=1, topic="effects-placed")
class Placed(msgspec.Struct, frozen=True):
    order_id: str


@event("effects.reserve", version=1, topic="effects-stock")
class Reserve(msgspec.Struct, frozen=True):
    order_id: str


@event("effects.release", version=1, topic="effects-stock")
class Release(msgspec.Struct, frozen=True):
    order_id: str


@event("effects.reserved", version=1, topic="effects-stock-replies")
class Reserved(msgspec.Struct, frozen=True):
    order_id: str


@event("effects.released", version=1, topic="effects-stock-replies")
class Released(msgspec.Struct, frozen=True):
    order_id: str


class Order(msgspec.Struct, frozen=True):
    order_id: str


class Sale(Saga[Order], version=1, on=database):
    def reserve(self, order: Order) -> Reserve:
        return Reserve(order.order_id)

    def reserved(self, _order: Order, _event: Reserved) -> None:
        return None

    def release(self, order: Order) -> Release:
        return Release(order.order_id)

    def released(self, _order: Order, _event: Released) -> None:
        return None

    async def pay(self, order: Order, call: CallContext) -> Refused | None:
        if order.order_id.endswith(LATE):
            pass_by("calling")
            return Refused("too late")
        ledger = Ledger(killers[0].folder / CALLS)
        ledger.write(f"{order.order_id} {call.idempotency_key}")
        ledger.close()
        pass_by("calling")
        return None

    steps = (
        Step("reserve", Send(reserve, replies=(reserved,)), undo=Send(release, replies=(released,))),
        Step("pay", Call(pay, timeout_s=1.0)),
    )


class Accept(Handler[Placed], channel="effects", once=database):
    async def handle(self, event: Placed, ctx: Context) -> None:
        await ctx.resource(database.session).execute(
            text("INSERT INTO accepted VALUES (:id)"), {"id": event.order_id}
        )
        ctx.publish(Sale.start(event.order_id, Order(event.order_id)))


class Stock(Handler[Reserve | Release], channel="effects", once=database):
    async def handle(self, event: Reserve | Release, ctx: Context) -> None:
        change = 1 if isinstance(event, Reserve) else -1
        await ctx.resource(database.session).execute(
            text("INSERT INTO stock VALUES (:id, :change)"), {"id": event.order_id, "change": change}
        )
        ctx.publish(Reserved(event.order_id) if change > 0 else Released(event.order_id))
