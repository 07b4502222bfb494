"""Handlers: payments charges an order at the gateway, and gives the charge back."""

from examples.orders.events import (
    ChargePayment,
    PaymentCharged,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
)
from examples.orders.payments.gateway_client import DeclinedError, GatewayClient, GatewayError, gateway
from examples.orders.payments.tables import Charge, ChargeStatus, database
from nsqkit import Context, Exponential, Handler, RetryPolicy

__all__ = ["ChargeOrder", "RefundOrder", "gateway"]

RETRY = RetryPolicy(max_attempts=20, backoff=Exponential(base_s=0.2, factor=2, max_s=30))
# A transaction is open during each call of the gateway, and SQLite has one at a time.
IN_FLIGHT = 8


class ChargeOrder(
    Handler[ChargePayment],
    channel="payments",
    once=database,
    retry=RETRY,
    timeout_s=20,
    max_in_flight=IN_FLIGHT,
    errors=(GatewayError,),
):
    """Charges an order at the gateway."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._gateway = gateway

    async def handle(self, event: ChargePayment, ctx: Context) -> None:
        """Charge the amount, and reply."""
        session = ctx.resource(database.session)
        if await session.get(Charge, event.order_id):  # the saga has given up already
            return
        status = ChargeStatus.CHARGED
        reply: PaymentCharged | PaymentDeclined = PaymentCharged(event.order_id)
        try:
            await self._gateway.charge(event.order_id, event.amount_cents)
        except DeclinedError as error:
            status, reply = (
                ChargeStatus.DECLINED,
                PaymentDeclined(event.order_id, f"payment declined: {error}"),
            )
        session.add(Charge(order_id=event.order_id, status=status, amount_cents=event.amount_cents))
        ctx.publish(reply)


class RefundOrder(
    Handler[RefundPayment],
    channel="payments",
    once=database,
    retry=RETRY,
    timeout_s=20,
    max_in_flight=IN_FLIGHT,
    errors=(GatewayError,),
):
    """Gives a charge back. An order that is not charged yet will not be."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._gateway = gateway

    async def handle(self, event: RefundPayment, ctx: Context) -> None:
        """Refund at the gateway, also if the result of the charge is unknown here."""
        session = ctx.resource(database.session)
        await self._gateway.refund(event.order_id)
        if found := await session.get(Charge, event.order_id):
            found.status = ChargeStatus.REFUNDED
        else:
            session.add(Charge(order_id=event.order_id, status=ChargeStatus.REFUNDED, amount_cents=0))
        ctx.publish(PaymentRefunded(event.order_id))
