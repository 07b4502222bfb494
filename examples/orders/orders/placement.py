"""Placement: the saga of an order. It reserves stock, charges, confirms, or undoes all of it."""

from typing import Final

import msgspec

from examples.orders.events import (
    CancelOrder,
    ChargePayment,
    ConfirmOrder,
    Line,
    OrderPlaced,
    PaymentCharged,
    PaymentDeclined,
    PaymentRefunded,
    RefundPayment,
    ReleaseStock,
    ReserveStock,
    StockRefused,
    StockReleased,
    StockReserved,
)
from examples.orders.orders.tables import database
from nsqkit import Exponential, RetryPolicy
from nsqkit.sql.saga import Refused, Saga, Send, Step

PATIENT: Final = RetryPolicy(max_attempts=1000, backoff=Exponential(base_s=1, factor=2, max_s=300))
"""An order may be given up after some minutes, but what it has taken must be given back, even days later."""


class Placement(msgspec.Struct, frozen=True):
    """What the saga knows of its order."""

    order_id: str
    email: str
    lines: tuple[Line, ...]
    total_cents: int


class PlaceOrder(Saga[Placement], version=1, on=database):
    """Confirms an order, or cancels it with a reason."""

    def announce(self, order: Placement) -> OrderPlaced:
        """Say that the order is there."""
        return OrderPlaced(order.order_id, order.email, order.total_cents)

    def cancel(self, order: Placement, reason: str) -> CancelOrder:
        """Cancel the order; the last thing that is done after a refusal."""
        return CancelOrder(order.order_id, reason)

    def reserve(self, order: Placement) -> ReserveStock:
        """Reserve every line."""
        return ReserveStock(order.order_id, order.lines)

    def reserved(self, _order: Placement, _reply: StockReserved) -> None:
        """Go on."""

    def out_of_stock(self, _order: Placement, reply: StockRefused) -> Refused:
        """Cancel the order."""
        return Refused(reply.reason)

    def release(self, order: Placement) -> ReleaseStock:
        """Give the stock back."""
        return ReleaseStock(order.order_id)

    def released(self, _order: Placement, _reply: StockReleased) -> None:
        """Go on."""

    def charge(self, order: Placement) -> ChargePayment:
        """Charge the total."""
        return ChargePayment(order.order_id, order.total_cents)

    def charged(self, _order: Placement, _reply: PaymentCharged) -> None:
        """Go on."""

    def declined(self, _order: Placement, reply: PaymentDeclined) -> Refused:
        """Give the stock back, and cancel the order."""
        return Refused(reply.reason)

    def refund(self, order: Placement) -> RefundPayment:
        """Give the money back."""
        return RefundPayment(order.order_id)

    def refunded(self, _order: Placement, _reply: PaymentRefunded) -> None:
        """Go on."""

    def confirm(self, order: Placement) -> ConfirmOrder:
        """Confirm the order."""
        return ConfirmOrder(order.order_id)

    steps = (
        Step("announce", Send(announce), undo=Send(cancel)),
        Step(
            "reserve",
            Send(reserve, replies=(reserved, out_of_stock)),
            undo=Send(release, replies=(released,), retry=PATIENT),
        ),
        Step(
            "charge",
            Send(charge, replies=(charged, declined)),
            undo=Send(refund, replies=(refunded,), retry=PATIENT),
        ),
        Step("confirm", Send(confirm)),
    )
