"""Sample handlers of a shop: reserve stock, charge the payment, notify the customer, sum up sales.

Their own settings ``payment_failure_ratio``, ``payment_latency_s`` and ``totals_latency_s`` simulate trouble.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import msgspec

from nsqkit import Context, DeadLetter, Exponential, Handler, RetryPolicy, Settings, event, resource

Cents = Annotated[int, msgspec.Meta(ge=0)]


class Line(msgspec.Struct, frozen=True):
    """One product of an order; amounts in cents."""

    product: str
    quantity: Annotated[int, msgspec.Meta(ge=1)]
    amount_cents: Cents
    retail_discount_cents: Cents = 0
    coupon_discount_cents: Cents = 0
    coupon_match_discount_cents: Cents = 0


@event("order.created", version=1, topic="orders")
class OrderCreated(msgspec.Struct, frozen=True):
    """A customer paid for a basket in a store; the total is in cents."""

    order_id: str
    customer_id: str
    store: str
    placed_at: str
    lines: Annotated[tuple[Line, ...], msgspec.Meta(min_length=1)]
    total_cents: Cents


class PaymentDeclinedError(Exception):
    """The gateway declined the payment; a retry cannot help."""


class GatewayError(Exception):
    """The gateway did not answer; a retry may help."""


class Gateway:
    """A simulated payment gateway with a configurable failure rate and latency.

    Args:
        failure_ratio: Share of the calls that fail, 0 to 1; it may be changed at any time.
        latency_s: Seconds that each call takes; 0 answers at once. It may be changed at any time.
        seed: Seed of the random failures.
    """

    def __init__(self, failure_ratio: float, latency_s: float = 0.0, *, seed: int = 0) -> None:
        self.failure_ratio = failure_ratio
        self.latency_s = latency_s
        self._draws = random.Random(seed)  # noqa: S311 - a simulation
        self.charged_cents = 0

    async def charge(self, order_id: str, amount_cents: int) -> None:
        """Charge an order.

        Raises:
            GatewayError: For the configured share of the calls.
            PaymentDeclinedError: If there is nothing to charge.
        """
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if amount_cents == 0:
            raise PaymentDeclinedError(f"order {order_id} has a total of 0")
        if self._draws.random() < self.failure_ratio:
            raise GatewayError(f"no answer for order {order_id}")
        self.charged_cents += amount_cents


class Warehouse:
    """Reserved quantities by store and product, in memory."""

    def __init__(self) -> None:
        self.reserved: Counter[tuple[str, str]] = Counter()
        self._orders: set[str] = set()

    def reserve(self, order: OrderCreated) -> None:
        """Reserve every line of an order; repeated calls for the same order have no effect."""
        if order.order_id in self._orders:
            return
        self._orders.add(order.order_id)
        for line in order.lines:
            self.reserved[order.store, line.product] += line.quantity


@resource
async def gateway(settings: Settings) -> AsyncIterator[Gateway]:
    """Open the payment gateway; ``app.payment_failure_ratio`` sets its failure rate."""
    yield Gateway(
        settings.app_number("payment_failure_ratio", 0.05, minimum=0.0, maximum=1.0),
        settings.app_number("payment_latency_s", 0.0, minimum=0.0),
    )


@resource
def warehouse() -> Iterator[Warehouse]:
    """Open the warehouse."""
    yield Warehouse()


class ReserveStock(Handler[OrderCreated], channel="inventory"):
    """Reserves the ordered products."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Reserve every line."""
        self._warehouse.reserve(event)


class ChargePayment(
    Handler[OrderCreated],
    channel="payments",
    max_in_flight=50,
    timeout_s=10,
    retry=RetryPolicy(
        max_attempts=6,
        backoff=Exponential(base_s=0.2, factor=2, max_s=30),
        on={PaymentDeclinedError: DeadLetter("declined by the gateway")},
    ),
    errors=(GatewayError,),
):
    """Charges the customer; the gateway fails now and then, to demonstrate retries."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Charge the total."""
        await self._gateway.charge(event.order_id, event.total_cents)


class NotifyCustomer(Handler[OrderCreated], channel="notify", threads=4):
    """Notifies the customer; a plain function, as for a mail library that blocks."""

    def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Log the notification instead of mailing it."""
        ctx.log.debug("customer_notified", customer=event.customer_id, total_cents=event.total_cents)


class SalesTotals(Handler[OrderCreated], channel="totals", run_on_loop=True):
    """Sums up what each store has sold."""

    def __init__(self, settings: Settings) -> None:
        self._latency_s = settings.app_number("totals_latency_s", 0.0, minimum=0.0)
        self.cents_by_store: Counter[str] = Counter()
        self._orders: set[str] = set()

    def handle(self, event: OrderCreated, ctx: Context) -> None:
        """Add the order to its store's total; repeated deliveries have no effect."""
        if self._latency_s:
            time.sleep(self._latency_s)  # blocks the event loop, as code that should run in a thread does
        if event.order_id not in self._orders:
            self._orders.add(event.order_id)
            self.cents_by_store[event.store] += event.total_cents
