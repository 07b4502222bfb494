"""Placement: orders, inventory and payments in virtual time; each order is confirmed or undone."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from examples.orders.events import (
    Line,
    OrderCancelled,
    OrderConfirmed,
    RefundPayment,
    ReleaseStock,
    ReserveStock,
)
from examples.orders.inventory import shelves
from examples.orders.inventory.handlers import Release, Reserve
from examples.orders.orders.handlers import Cancel, Confirm
from examples.orders.orders.placement import Placement, PlaceOrder
from examples.orders.orders.tables import OrderRow, database
from examples.orders.payments.gateway import Behaviour, Books, Gateway, create_app
from examples.orders.payments.gateway_client import GatewayClient
from examples.orders.payments.handlers import ChargeOrder, RefundOrder
from nsqkit import Settings
from nsqkit.sql.testing import relayed
from nsqkit.testing import Harness

HANDLERS = [*PlaceOrder.handlers, Confirm, Cancel, Reserve, Release, ChargeOrder, RefundOrder]
STOCK = {"tea": 10, "cake": 10}


@pytest.fixture
def bank(settings: Settings, tmp_path: Any) -> Iterator[Gateway]:
    """A gateway that does not fail, and stock on the shelves."""
    shelves.fill(STOCK, settings, pieces=10)
    books = Books(str(tmp_path / "gateway.sqlite"))
    yield Gateway(books, Behaviour())
    books.close()


@asynccontextmanager
async def shop(settings: Settings, bank: Gateway) -> AsyncIterator[Harness]:
    transport = httpx.ASGITransport(create_app(bank))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
        resources = {GatewayClient: GatewayClient(http)}
        async with Harness(HANDLERS, settings=settings, resources=resources) as found:
            yield found


def place(settings: Settings, order_id: str, total_cents: int, *lines: Line) -> Any:
    """Write an order as the server does, and return the event that starts its saga."""
    row = {
        "order_id": order_id,
        "idempotency_key": order_id,
        "request_hash": "",
        "trace_id": "",
        "customer_id": "c",
        "email": "ann@example.org",
        "lines": [],
        "total_cents": total_cents,
        "status": "pending",
        "reason": "",
        "created_at_ms": 0,
    }
    execute(settings, "orders", sa.insert(OrderRow).values(row))
    return PlaceOrder.start(order_id, Placement(order_id, "ann@example.org", lines, total_cents))


def execute(settings: Settings, name: str, statement: Any) -> None:
    engine = sa.create_engine(settings.app_text(f"{name}_url", ""))
    with engine.begin() as connection:
        connection.execute(statement)
    engine.dispose()


def rows(settings: Settings, name: str, query: str) -> list[tuple[Any, ...]]:
    engine = sa.create_engine(settings.app_text(f"{name}_url", ""))
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


def status(settings: Settings) -> list[tuple[Any, ...]]:
    return rows(settings, "orders", "SELECT order_id, status, reason FROM orders ORDER BY number")


def stock(settings: Settings) -> dict[str, int]:
    return dict(rows(settings, "inventory", "SELECT product, free FROM stock"))


async def test_an_order_is_confirmed_with_its_stock_and_its_money(settings: Settings, bank: Gateway) -> None:
    async with shop(settings, bank) as h:
        await h.publish(place(settings, "o1", 500, Line("tea", 2), Line("cake", 1)))
        await h.settle(through_delays=True)
        h.published(OrderConfirmed).once()
    assert status(settings) == [("o1", "confirmed", "")]
    assert stock(settings) == {"tea": 8, "cake": 9}
    assert bank.books.totals().charged_cents == 500


async def test_an_order_without_stock_is_cancelled_and_takes_nothing(
    settings: Settings, bank: Gateway
) -> None:
    async with shop(settings, bank) as h:
        await h.publish(place(settings, "o1", 500, Line("cake", 1), Line("tea", 11)))
        await h.settle(through_delays=True)
        h.published(OrderCancelled).once()
    assert status(settings) == [("o1", "cancelled", "not enough stock of tea")]
    assert stock(settings) == STOCK
    assert bank.books.totals().charged_cents == 0


async def test_a_declined_payment_gives_the_stock_back(settings: Settings, bank: Gateway) -> None:
    async with shop(settings, bank) as h:
        await h.publish(place(settings, "o1", 0, Line("tea", 2)))
        await h.publish(place(settings, "o2", 20_001, Line("tea", 2)))
        await h.settle(through_delays=True)
    assert status(settings) == [
        ("o1", "cancelled", "payment declined: nothing to charge"),
        ("o2", "cancelled", "payment declined: above the limit of the card"),
    ]
    assert stock(settings) == STOCK
    assert rows(settings, "inventory", "SELECT DISTINCT status FROM reservations") == [("released",)]


async def test_a_gateway_that_fails_for_a_while_charges_once(settings: Settings, bank: Gateway) -> None:
    draws = iter([0.1, 0.9, 0.9, 1.0])  # fails before the effect, then twice after it
    bank.behaviour = Behaviour(failure_ratio=0.95)
    bank._draw = lambda: next(draws)
    async with shop(settings, bank) as h:
        await h.publish(place(settings, "o1", 500, Line("tea", 2)))
        await h.settle(through_delays=True)
    assert next(draws, None) is None, "every draw was a call"
    assert status(settings) == [("o1", "confirmed", "")]
    assert bank.books.totals().charged_cents == 500


async def test_an_order_waits_for_a_gateway_that_is_down_for_a_moment(
    settings: Settings, bank: Gateway
) -> None:
    bank.behaviour = Behaviour(is_down=True)
    async with shop(settings, bank) as h:
        await h.publish(place(settings, "o1", 500, Line("tea", 2)))
        await h.settle()
        assert status(settings) == [("o1", "pending", "")]
        bank.behaviour = Behaviour()
        await h.settle(through_delays=True)
    assert status(settings) == [("o1", "confirmed", "")]
    assert bank.books.totals().charged_cents == 500


async def test_an_order_is_given_up_after_minutes_and_gives_everything_back(
    settings: Settings, bank: Gateway
) -> None:
    bank.behaviour = Behaviour(is_down=True)
    async with shop(settings, bank) as h:
        await h.publish(place(settings, "o1", 500, Line("tea", 2)))
        await minutes(h, 30)
        assert status(settings) == [("o1", "pending", "")], "it may be charged: nobody could ask"
        bank.behaviour = Behaviour()
        await minutes(h, 10)
    ((_, final, reason),) = status(settings)
    assert (final, reason.partition(":")[0]) == ("cancelled", "charge failed")
    assert stock(settings) == STOCK
    totals = bank.books.totals()
    assert totals.charged_cents == totals.refunded_cents


async def minutes(h: Harness, count: int) -> None:
    """Let minutes pass, and a relay wake the saga after each."""
    for _ in range(count):
        h.clock.advance(60)
        await relayed(h, database)


async def test_a_release_or_refund_that_overtakes_its_command_prevents_it(
    settings: Settings, bank: Gateway
) -> None:
    async with shop(settings, bank) as h:
        await h.publish(ReleaseStock("o1"))
        await h.publish(RefundPayment("o1"))
        await h.settle(through_delays=True)
        await h.publish(ReserveStock("o1", (Line("tea", 2),)))
        await h.settle(through_delays=True)
    assert stock(settings) == STOCK
    assert not bank.books.charge("o1", 500)
    assert rows(settings, "payments", "SELECT status FROM charges") == [("refunded",)]
