"""The sample team's handlers as they run: from the event to its outcome, retries played out."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from handlers.orders import (
    ChargePayment,
    Gateway,
    GatewayError,
    Line,
    NotifyCustomer,
    OrderCreated,
    ReserveStock,
    SalesTotals,
    Warehouse,
)
from nsqkit.testing import Harness

SAMPLE = Path(__file__).parents[3] / "examples" / "data" / "orders.jsonl"
EVERYBODY = [ReserveStock, ChargePayment, NotifyCustomer, SalesTotals]
ORDER = OrderCreated(
    order_id="o-1",
    customer_id="c-1",
    store="s-1",
    placed_at="2017-01-01T11:53:26Z",
    lines=(Line(product="p-1", quantity=2, amount_cents=500),),
    total_cents=500,
)
DECLINED = OrderCreated(
    order_id="o-2",
    customer_id="c-1",
    store="s-1",
    placed_at="2017-01-01T12:00:00Z",
    lines=ORDER.lines,
    total_cents=0,
)


class FlakyGateway(Gateway):
    """Does not answer so many times, then charges."""

    def __init__(self, failures: int) -> None:
        super().__init__(0.0)
        self.failures = failures

    async def charge(self, order_id: str, amount_cents: int) -> None:
        if self.failures:
            self.failures -= 1
            raise GatewayError(f"no answer for order {order_id}")
        await super().charge(order_id, amount_cents)


async def test_an_order_reaches_every_handler(harness: type[Harness]) -> None:
    warehouse, gateway = Warehouse(), FlakyGateway(0)
    async with harness(EVERYBODY, resources={Warehouse: warehouse, Gateway: gateway}) as h:
        await h.publish(ORDER)
        await h.settle()
        for handler in EVERYBODY:
            h.handled(ORDER, by=handler).once()
        assert h.handler(SalesTotals).cents_by_store == {"s-1": 500}
    assert warehouse.reserved == {("s-1", "p-1"): 2}
    assert gateway.charged_cents == 500


@pytest.mark.parametrize("failures", [1, 2])
async def test_a_gateway_that_does_not_answer_is_asked_again_a_little_later(
    failures: int, harness: type[Harness]
) -> None:
    gateway = FlakyGateway(failures)
    async with harness([ChargePayment], resources={Gateway: gateway}) as h:
        await h.publish(ORDER)
        await h.settle(through_delays=True)
        delays_s = [each.delay_s for each in h.requeued(ORDER, reason="error")]
        assert delays_s == [0.2, 0.4][:failures]
        h.handled(ORDER).once()
    assert gateway.charged_cents == 500


async def test_after_six_attempts_it_is_a_dead_letter(harness: type[Harness]) -> None:
    async with harness([ChargePayment], resources={Gateway: FlakyGateway(6)}) as h:
        await h.publish(ORDER)
        await h.settle(through_delays=True)
        h.requeued(ORDER).times(5)
        assert h.dead_lettered(ORDER, reason="exhausted").once().attempts == 6


async def test_a_declined_payment_is_a_dead_letter_at_once(harness: type[Harness]) -> None:
    async with harness([ChargePayment], resources={Gateway: FlakyGateway(0)}) as h:
        await h.publish(DECLINED)
        await h.settle()
        assert h.dead_lettered(DECLINED, reason="rule").once().detail == "declined by the gateway"


async def test_an_order_that_comes_twice_counts_once(harness: type[Harness]) -> None:
    warehouse = Warehouse()
    async with harness([ReserveStock, SalesTotals], resources={Warehouse: warehouse}) as h:
        for _ in range(2):
            await h.publish(ORDER)
        await h.settle()
        h.handled(ORDER, by=ReserveStock).times(2)
        assert h.handler(SalesTotals).cents_by_store == {"s-1": 500}
    assert warehouse.reserved == {("s-1", "p-1"): 2}


async def test_real_orders_end_as_the_readme_says(harness: type[Harness]) -> None:
    async with harness(EVERYBODY, resources={Gateway: FlakyGateway(131), Warehouse: Warehouse()}) as h:
        for body in SAMPLE.read_bytes().splitlines():
            await h.publish_raw("orders", body)
        await h.settle(through_delays=True)
        handled: Counter[Any] = Counter(each.handler for each in h.handled())
        assert handled == {ReserveStock: 1908, ChargePayment: 1907, NotifyCustomer: 1908, SalesTotals: 1908}
        h.dead_lettered(reason="undecodable").times(4 * 92)
        h.dead_lettered(by=ChargePayment, reason="rule").once()
        h.requeued(by=ChargePayment).times(131)
