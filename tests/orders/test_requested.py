"""Orders that arrive as events: each is placed once, as the REST API would place it."""

import json
from typing import Any

import pytest
import sqlalchemy as sa

from examples.orders.orders.handlers import Place
from examples.orders.orders.placement import PlaceOrder
from nsqkit import Settings
from nsqkit.testing import Harness

TRACE = "0af7651916cd43dd8448eb211c80319c"
LINES = [
    {"product": "tea", "quantity": 2, "amount_cents": 300},
    {"product": "cake", "quantity": 1, "amount_cents": 200},
]


def requested(event_id: str = "o1", **changed: Any) -> bytes:
    """Return the event of a shop outside that orders tea and cake."""
    event = {
        "specversion": "1.0",
        "type": "shop.order_requested.v1",
        "source": "partner",
        "id": event_id,
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-00",
        "data": {"customer_id": "ann", "email": "ann@example.org", "lines": LINES, **changed},
    }
    return json.dumps(event).encode()


def query(settings: Settings, *statements: str) -> list[tuple[Any, ...]]:
    """Return what the last statement finds in the database of orders."""
    engine = sa.create_engine(settings.app_text("orders_url", ""))
    with engine.begin() as connection:
        results = [connection.exec_driver_sql(each) for each in statements]
        found = [tuple(row) for row in results[-1]]
    engine.dispose()
    return found


async def test_an_event_places_an_order_that_has_its_id_and_its_trace(settings: Settings) -> None:
    async with Harness([Place, *PlaceOrder.handlers], settings=settings) as h:
        await h.publish_raw("shop.requested", requested())
        await h.settle()
    assert query(settings, "SELECT order_id, status, total_cents, email, trace_id FROM orders") == [
        ("o1", "pending", 500, "ann@example.org", TRACE)
    ]
    assert query(settings, "SELECT key, correlation_id FROM nsqkit_saga") == [("o1", "o1")]


async def test_a_copy_places_nothing_also_after_the_inbox_has_forgotten_the_event(settings: Settings) -> None:
    async with Harness([Place], settings=settings) as h:
        for _ in range(2):
            await h.publish_raw("shop.requested", requested())
        await h.settle()
        query(settings, "DELETE FROM nsqkit_inbox", "SELECT 1")
        await h.publish_raw("shop.requested", requested())
        await h.publish_raw("shop.requested", requested("o2"))
        await h.settle(through_delays=True)
        h.dead_lettered(by=Place).never()
    assert query(settings, "SELECT order_id FROM orders ORDER BY number") == [("o1",), ("o2",)]
    assert query(settings, "SELECT count(*) FROM nsqkit_outbox") == [(2,)], "each saga is started once"


async def test_the_id_of_another_order_is_a_dead_letter(settings: Settings) -> None:
    """Ids are unique for each source only; nobody's order is dropped because of it."""
    async with Harness([Place], settings=settings) as h:
        await h.publish_raw("shop.requested", requested())
        await h.publish_raw("shop.requested", requested(customer_id="bob").replace(b"partner", b"another"))
        await h.settle()
        h.dead_lettered(by=Place).once()
    assert query(settings, "SELECT customer_id FROM orders") == [("ann",)]


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"lines": []}, id="no line"),
        pytest.param({"lines": [{**LINES[0], "quantity": 0}]}, id="no piece"),
        pytest.param({"lines": [{**LINES[0], "amount_cents": 100_000_001}]}, id="too expensive"),
        pytest.param({"customer_id": ""}, id="no customer"),
        pytest.param({"email": "nobody"}, id="no mail address"),
    ],
)
async def test_what_the_rest_api_refuses_is_a_dead_letter(
    settings: Settings, changed: dict[str, Any]
) -> None:
    async with Harness([Place], settings=settings) as h:
        await h.publish_raw("shop.requested", requested(**changed))
        await h.settle()
        h.dead_lettered(by=Place).once()
    assert query(settings, "SELECT * FROM orders") == []
