"""Events: what services send each other over NSQ: facts, commands, and the replies that orders receives."""

from typing import Annotated

import msgspec

from nsqkit import event

Cents = Annotated[int, msgspec.Meta(ge=0)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Line(msgspec.Struct, frozen=True):
    """One product of an order."""

    product: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]


class PricedLine(msgspec.Struct, frozen=True):
    """One product of a new order; the limits are those of the REST API."""

    product: Text
    quantity: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    amount_cents: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]


@event("shop.order_requested", version=1, topic="shop.requested")
class OrderRequested(msgspec.Struct, frozen=True):
    """Somebody outside orders something; the id of the event becomes the id of the order."""

    customer_id: Text
    email: Annotated[str, msgspec.Meta(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$")]
    lines: Annotated[tuple[PricedLine, ...], msgspec.Meta(min_length=1, max_length=500)]


@event("shop.order_placed", version=1, topic="shop.placed")
class OrderPlaced(msgspec.Struct, frozen=True):
    """A customer placed an order; it is pending."""

    order_id: str
    email: str
    total_cents: Cents


@event("shop.order_confirmed", version=1, topic="shop.confirmed")
class OrderConfirmed(msgspec.Struct, frozen=True):
    """An order has its stock and its payment."""

    order_id: str
    email: str
    total_cents: Cents


@event("shop.order_cancelled", version=1, topic="shop.cancelled")
class OrderCancelled(msgspec.Struct, frozen=True):
    """An order was refused; stock and payment were given back."""

    order_id: str
    email: str
    reason: str


@event("shop.confirm_order", version=1, topic="shop.confirm_order")
class ConfirmOrder(msgspec.Struct, frozen=True):
    """Command for orders: everything an order needs is there."""

    order_id: str


@event("shop.cancel_order", version=1, topic="shop.cancel_order")
class CancelOrder(msgspec.Struct, frozen=True):
    """Command for orders: everything that an order had taken was given back."""

    order_id: str
    reason: str


@event("shop.reserve_stock", version=1, topic="shop.reserve_stock")
class ReserveStock(msgspec.Struct, frozen=True):
    """Command for inventory: reserve every line, or none."""

    order_id: str
    lines: Annotated[tuple[Line, ...], msgspec.Meta(min_length=1)]


@event("shop.release_stock", version=1, topic="shop.release_stock")
class ReleaseStock(msgspec.Struct, frozen=True):
    """Command for inventory: give the reserved lines of an order back."""

    order_id: str


@event("shop.charge_payment", version=1, topic="shop.charge_payment")
class ChargePayment(msgspec.Struct, frozen=True):
    """Command for payments: charge the total of an order."""

    order_id: str
    amount_cents: Cents


@event("shop.refund_payment", version=1, topic="shop.refund_payment")
class RefundPayment(msgspec.Struct, frozen=True):
    """Command for payments: give the charge of an order back, whether or not it took place."""

    order_id: str


@event("shop.stock_reserved", version=1, topic="shop.replies")
class StockReserved(msgspec.Struct, frozen=True):
    """Reply of inventory: every line is reserved."""

    order_id: str


@event("shop.stock_refused", version=1, topic="shop.replies")
class StockRefused(msgspec.Struct, frozen=True):
    """Reply of inventory: nothing is reserved."""

    order_id: str
    reason: str


@event("shop.stock_released", version=1, topic="shop.replies")
class StockReleased(msgspec.Struct, frozen=True):
    """Reply of inventory: nothing is reserved any more, or will be."""

    order_id: str


@event("shop.payment_charged", version=1, topic="shop.replies")
class PaymentCharged(msgspec.Struct, frozen=True):
    """Reply of payments: the total is charged."""

    order_id: str


@event("shop.payment_declined", version=1, topic="shop.replies")
class PaymentDeclined(msgspec.Struct, frozen=True):
    """Reply of payments: nothing is charged."""

    order_id: str
    reason: str


@event("shop.payment_refunded", version=1, topic="shop.replies")
class PaymentRefunded(msgspec.Struct, frozen=True):
    """Reply of payments: nothing is charged any more, or will be."""

    order_id: str
