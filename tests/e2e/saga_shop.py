"""A shop of three services, each with its own database. A test can kill the saga's worker at a point."""

import os
import signal
from pathlib import Path

import msgspec
from sqlalchemy import text

from nsqkit import Context, Exponential, Extension, Handler, Next, Outcome, RetryPolicy, event
from nsqkit.sql import Database
from nsqkit.sql.saga import Call, CallContext, Refused, Saga, Send, Step

orders, stock, payments = Database("orders"), Database("stock"), Database("payments")
SOON = RetryPolicy(max_attempts=5, backoff=Exponential(base_s=0.1, jitter="none"))
POINTS = ("SagaShop.Start", "SagaShop.Reserved", "inside.SagaCall", "SagaShop.SagaCall", "SagaShop.Refunded")
"""Where the worker dies, once each: after the commit of what it has handled, or inside of a call."""


@event("sagashop.reserve", version=1, topic="saga-e2e-stock")
class Reserve(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.release", version=1, topic="saga-e2e-stock")
class Release(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.reserved", version=1, topic="saga-e2e-stock-replies")
class Reserved(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.released", version=1, topic="saga-e2e-stock-replies")
class Released(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.charge", version=1, topic="saga-e2e-payments")
class Charge(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.refund", version=1, topic="saga-e2e-payments")
class Refund(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.charged", version=1, topic="saga-e2e-payments-replies")
class Charged(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.declined", version=1, topic="saga-e2e-payments-replies")
class Declined(msgspec.Struct, frozen=True):
    order_id: str


@event("sagashop.refunded", version=1, topic="saga-e2e-payments-replies")
class Refunded(msgspec.Struct, frozen=True):
    order_id: str


class Order(msgspec.Struct, frozen=True):
    order_id: str


def die_once(point: str) -> None:
    """End this process as `kill -9` does, if a test wants it to end here and it has not before."""
    folder = os.environ.get("SHOP_DIES")
    if folder is None or point not in POINTS:
        return
    died = Path(folder) / point
    if not died.exists():
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)


class Mortal(Extension):
    """Dies between the commit of a handler's writes and the publish of its events."""

    async def around_handle(self, event: object, ctx: Context, call_next: Next) -> Outcome | None:
        outcome = await call_next(event, ctx)
        die_once(f"SagaShop.{type(event).__name__}")
        return outcome


class SagaShop(Saga[Order], version=1, on=orders):
    def reserve(self, order: Order) -> Reserve:
        return Reserve(order.order_id)

    def reserved(self, _order: Order, _event: Reserved) -> None:
        return None

    def release(self, order: Order) -> Release:
        return Release(order.order_id)

    def released(self, _order: Order, _event: Released) -> None:
        return None

    def charge(self, order: Order) -> Charge:
        return Charge(order.order_id)

    def charged(self, _order: Order, _event: Charged) -> None:
        return None

    def declined(self, _order: Order, _event: Declined) -> Refused:
        return Refused("declined")

    def refund(self, order: Order) -> Refund:
        return Refund(order.order_id)

    def refunded(self, _order: Order, _event: Refunded) -> None:
        return None

    async def confirm(self, order: Order, call: CallContext) -> Refused | None:
        die_once("inside.SagaCall")
        return Refused("too late") if order.order_id.startswith("late") else None

    steps = (
        Step("reserve", Send(reserve, replies=(reserved,)), undo=Send(release, replies=(released,))),
        Step("charge", Send(charge, replies=(charged, declined)), undo=Send(refund, replies=(refunded,))),
        Step("confirm", Call(confirm, timeout_s=1.0, retry=SOON)),
    )


class Stock(Handler[Reserve | Release], channel="stock", once=stock):
    async def handle(self, event: Reserve | Release, ctx: Context) -> None:
        change = 1 if isinstance(event, Reserve) else -1
        await ctx.resource(stock.session).execute(
            text("INSERT INTO changes VALUES (:id, :change)"), {"id": event.order_id, "change": change}
        )
        ctx.publish(Reserved(event.order_id) if change > 0 else Released(event.order_id))


class Payments(Handler[Charge | Refund], channel="payments", once=payments):
    async def handle(self, event: Charge | Refund, ctx: Context) -> None:
        if event.order_id.startswith("poor"):
            ctx.publish(Declined(event.order_id))
            return
        change = 1 if isinstance(event, Charge) else -1
        await ctx.resource(payments.session).execute(
            text("INSERT INTO changes VALUES (:id, :change)"), {"id": event.order_id, "change": change}
        )
        ctx.publish(Charged(event.order_id) if change > 0 else Refunded(event.order_id))
