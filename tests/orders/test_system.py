"""The whole system, as a person starts it: processes on the embedded broker, REST, spans by OTLP."""

import asyncio
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from examples.orders import place
from examples.orders.inventory.shelves import BASKETS
from tests.orders.readme import Readme
from tests.orders.running import System
from tests.otlp import ReceivedSpan, Receiver, receiving
from tests.waiting import PATIENCE_S, until_blocking

ORDERS = 30
CREATE = "/shop.orders.v1.OrderService/CreateOrder"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[System]:
    variables = {
        "OTEL_TRACES_EXPORTER": "otlp,console",  # the README looks at the spans in the logs
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "NSQKIT_APP_GATEWAY_FAILURE_RATIO": "0",
    }
    found = System(tmp_path_factory.mktemp("system"), variables)
    try:
        found.wait_ready()
        yield found
    finally:
        found.end()
    assert found.process.returncode == 0, found.out


def test_the_readme_shows_what_its_commands_show(system: System, tmp_path: Path) -> None:
    Readme(system, tmp_path).follow()
    wait_final(system)


def test_every_order_is_confirmed_or_cancelled_and_the_books_agree(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    httpx.put(f"{system.gateway}/behaviour", json={"failure_ratio": 0.2}).raise_for_status()
    placing = place.run(system.address("REST API"), ORDERS, rate=0, wait_s=PATIENCE_S)
    assert asyncio.run(placing) == 0, "no order is open"
    assert re.fullmatch(
        rf"{ORDERS} placed, \d+ confirmed, [1-9]\d* cancelled, 0 open\n", capsys.readouterr().out
    ), "some baskets have petrol, of which there is not enough"

    ((confirmed,),) = system.rows("orders", "SELECT sum(total_cents) FROM orders WHERE status = 'confirmed'")
    totals = httpx.get(f"{system.gateway}/totals").json()
    assert totals["charged_cents"] - totals["refunded_cents"] == confirmed
    ((reserved,),) = system.rows(
        "inventory",
        "SELECT sum(line.value ->> 'quantity') FROM reservations, json_each(lines) AS line"
        " WHERE status = 'reserved'",
    )
    assert system.rows("inventory", "SELECT sum(1000 - free) FROM stock") == [(reserved,)]


def test_one_order_is_one_trace_through_rest_grpc_events_and_databases(
    system: System, receiver: Receiver
) -> None:
    httpx.put(f"{system.gateway}/behaviour", json={}).raise_for_status()
    order = place_one(system)
    trace_id = order["trace_id"]

    def spans() -> list[ReceivedSpan]:
        return [span for span in receiver.spans if span.trace_id == trace_id]

    steps = ("placed", "reserve_stock", "charge_payment", "confirm_order", "confirmed")
    consumers = ("notifications", "inventory", "payments", "orders", "notifications")
    expected = {
        ("edge", "SERVER", "POST /api/v1/orders"),
        ("edge", "CLIENT", CREATE),
        ("orders", "SERVER", CREATE),
        *(
            (service, "CONSUMER", f"process shop.{step}")
            for step, service in zip(steps, consumers, strict=True)
        ),
        ("inventory", "PRODUCER", "send shop.replies"),
        ("payments", "PRODUCER", "send shop.replies"),
    }
    until_blocking(  # each process sends its spans when it likes
        lambda: {(span.service, span.kind, span.name) for span in spans()}, lambda found: found >= expected
    )
    until_blocking(lambda: are_joined(spans()))
    ids = {span.fields["messaging.message.conversation_id"] for span in spans() if span.kind == "CONSUMER"}
    assert ids == {order["order_id"]}
    assert system.rows("orders", "SELECT trace_id FROM orders WHERE order_id = ?", order["order_id"]) == [
        (trace_id,)
    ]
    for name in ("orders", "inventory", "payments"):
        bodies = [
            json.loads(str(body))
            for (body,) in system.rows(name, "SELECT CAST(body AS text) FROM nsqkit_outbox")
        ]
        own = [each for each in bodies if each["correlationid"] == order["order_id"]]
        assert own, name
        assert {each["traceparent"][3:35] for each in own} == {trace_id}


def test_probes_have_no_spans(system: System, receiver: Receiver) -> None:
    """Before anything else, the edge is asked whether it is ready, and asks orders."""
    order = place_one(system)
    until_blocking(lambda: order["trace_id"] in {span.trace_id for span in receiver.spans})
    assert [span.name for span in receiver.spans if "readyz" in span.name or "Health" in span.name] == []


def test_one_order_is_followed_by_its_id_through_all_services(system: System) -> None:
    key = place_one(system)["order_id"]
    until_blocking(lambda: len(list((system.data / "mail").glob(f"{key}.*.eml"))) == 2)
    logs = (system.data / "logs").glob("*.log")
    lines = [line for log in logs for line in log.read_text().splitlines() if f'"order":"{key}"' in line]
    assert {json.loads(line)["event"] for line in lines} >= {"order_finished"}
    assert system.rows("orders", "SELECT correlation_id FROM nsqkit_saga WHERE key = ?", key) == [(key,)]
    assert system.rows("inventory", "SELECT count(*) FROM reservations WHERE order_id = ?", key) == [(1,)]
    assert system.rows("payments", "SELECT count(*) FROM charges WHERE order_id = ?", key) == [(1,)]


def test_the_monitors_show_the_handlers_of_each_service(system: System) -> None:
    handlers = {
        "orders": "Confirm",
        "inventory": "Reserve",
        "payments": "ChargeOrder",
        "notifications": "MailReceipt",
    }
    for service, handler in handlers.items():
        metrics = httpx.get(f"{system.address(f'monitor of {service}')}metrics").text
        assert f'handler="{handler}"' in metrics


def are_joined(spans: list[ReceivedSpan]) -> bool:
    """Return whether all spans but one have a parent that is one of them: the trace has no gap."""
    ids = {span.span_id for span in spans}
    return [span.name for span in spans if span.parent_id not in ids] == ["POST /api/v1/orders"]


def place_one(system: System) -> dict[str, Any]:
    """Place an order that is confirmed, and return it."""
    basket = next(place.baskets(BASKETS))
    lines = [{"product": basket["lines"][0]["product"], "quantity": 1, "amount_cents": 100}]
    body = basket | {"lines": lines}
    url = f"{system.address('REST API')}/orders"
    placed = httpx.post(url, json=body, headers={"Idempotency-Key": str(uuid.uuid4())}, timeout=PATIENCE_S)
    order: dict[str, Any] = placed.raise_for_status().json()

    def status() -> str:
        found: str = httpx.get(f"{url}/{order['order_id']}", timeout=PATIENCE_S).json()["status"]
        return found

    assert until_blocking(status, lambda found: found != "pending") == "confirmed"
    return order


def wait_final(system: System) -> None:
    """Wait until no order is open."""
    pending = "SELECT count(*) FROM orders WHERE status = 'pending'"
    until_blocking(lambda: system.rows("orders", pending) == [(0,)])
