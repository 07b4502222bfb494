"""Orders: a real gRPC client over a real port."""

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from examples.orders.orders import order_book, server, service
from examples.orders.orders.order_book import OrderBook
from examples.orders.orders.server import NAME
from examples.orders.orders.v1 import orders_pb2, orders_pb2_grpc
from nsqkit import Settings
from nsqkit.devbroker import DevBroker

TIMEOUT_S = 30
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def basket(key: str = "k1", **changes: Any) -> orders_pb2.CreateOrderRequest:
    lines = [orders_pb2.Line(product="tea", quantity=2, amount_cents=500)]
    fields = {"idempotency_key": key, "customer_id": "c1", "lines": lines} | changes
    return orders_pb2.CreateOrderRequest(**fields)


def line(**changes: Any) -> orders_pb2.Line:
    fields: dict[str, Any] = {"product": "tea", "quantity": 1, "amount_cents": 1} | changes
    return orders_pb2.Line(**fields)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details() or ""


async def test_an_order_is_pending_and_found_again(stub: Any) -> None:
    placed = await stub.CreateOrder(basket(), timeout=TIMEOUT_S)
    assert placed.status == orders_pb2.ORDER_STATUS_PENDING
    assert placed.total_cents == 500
    found = await stub.GetOrder(orders_pb2.GetOrderRequest(order_id=placed.order_id), timeout=TIMEOUT_S)
    assert found == placed


async def test_the_order_and_the_start_of_its_saga_are_one_transaction_with_the_trace_of_the_request(
    stub: Any, settings: Settings
) -> None:
    metadata = (("traceparent", f"00-{TRACE_ID}-b7ad6b7169203331-01"),)
    placed = await stub.CreateOrder(basket(), timeout=TIMEOUT_S, metadata=metadata)
    assert placed.trace_id == TRACE_ID
    engine = sa.create_engine(settings.app_text("orders_url", ""))
    with engine.connect() as connection:
        (body,) = connection.exec_driver_sql("SELECT body FROM nsqkit_outbox").scalars()
    engine.dispose()
    assert f'"correlationid":"{placed.order_id}"'.encode() in body
    assert f'"traceparent":"00-{TRACE_ID}-'.encode() in body


async def test_the_saga_starts_right_after_the_commit_without_a_relay(settings: Settings) -> None:
    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    engine = sa.create_engine(settings.app_text("orders_url", ""))
    try:
        on_broker = replace(settings, nsqd=(broker.tcp_address,))
        async with server.serving(on_broker) as address, grpc.aio.insecure_channel(address) as channel:
            stub: Any = orders_pb2_grpc.OrderServiceStub(channel)  # type: ignore[no-untyped-call] # generated
            await stub.CreateOrder(basket(), timeout=TIMEOUT_S)
        with engine.connect() as connection:
            sent = "SELECT count(*) FROM nsqkit_outbox WHERE sent_at IS NOT NULL"
            assert connection.exec_driver_sql(sent).scalar_one() == 1
    finally:
        engine.dispose()
        await broker.stop()


async def test_the_same_key_and_request_get_the_first_answer_again(stub: Any, settings: Settings) -> None:
    first = await stub.CreateOrder(basket(), timeout=TIMEOUT_S)
    engine = sa.create_engine(settings.app_text("orders_url", ""))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE orders SET status = 'cancelled', reason = 'no tea'")
    engine.dispose()
    assert await stub.CreateOrder(basket(), timeout=TIMEOUT_S) == first
    assert (await stub.GetOrder(orders_pb2.GetOrderRequest(order_id=first.order_id))).reason == "no tea"


async def test_requests_with_one_key_at_the_same_time_place_one_order(stub: Any) -> None:
    calls = [stub.CreateOrder(basket(), timeout=TIMEOUT_S) for _ in range(10)]
    assert len({each.order_id for each in await asyncio.gather(*calls)}) == 1


async def test_a_key_of_another_request_is_refused(stub: Any) -> None:
    await stub.CreateOrder(basket(), timeout=TIMEOUT_S)
    code, details = await refusal(stub.CreateOrder(basket(customer_id="c2"), timeout=TIMEOUT_S))
    assert (code, details) == (grpc.StatusCode.ALREADY_EXISTS, "the key k1 belongs to another order")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"idempotency_key": ""}, "idempotency_key", id="no key"),
        pytest.param({"idempotency_key": "k" * 129}, "idempotency_key", id="a long key"),
        pytest.param({"customer_id": ""}, "customer_id", id="no customer"),
        pytest.param({"lines": []}, "lines", id="no lines"),
        pytest.param({"lines": [line()] * 501}, "lines", id="too many lines"),
        pytest.param({"lines": [line(), line(product="")]}, "lines.1.product", id="no product"),
        pytest.param({"lines": [line(quantity=0)]}, "lines.0.quantity", id="no pieces"),
        pytest.param({"lines": [line(amount_cents=-1)]}, "lines.0.amount_cents", id="a negative price"),
    ],
)
async def test_a_wrong_field_is_named(stub: Any, changes: dict[str, Any], field: str) -> None:
    code, details = await refusal(stub.CreateOrder(basket(**changes), timeout=TIMEOUT_S))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith(f"{field}: must ")


async def test_an_unknown_order_is_not_found(stub: Any) -> None:
    code, details = await refusal(stub.GetOrder(orders_pb2.GetOrderRequest(order_id="x"), timeout=TIMEOUT_S))
    assert (code, details) == (grpc.StatusCode.NOT_FOUND, "there is no order x")


async def test_orders_are_streamed_oldest_first_over_several_transactions(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_book, "PAGE", 2)
    placed = [(await stub.CreateOrder(basket(f"k{n}"), timeout=TIMEOUT_S)).order_id for n in range(5)]

    async def listed(**fields: Any) -> list[str]:
        stream = stub.ListOrders(orders_pb2.ListOrdersRequest(**fields), timeout=TIMEOUT_S)
        return [order.order_id async for order in stream]

    assert await listed() == placed
    assert await listed(limit=3) == placed[:3]
    assert await listed(limit=2, after=placed[1]) == placed[2:4]
    assert await listed(after=placed[4]) == []


async def test_a_list_is_refused_with_the_reason(stub: Any) -> None:
    async def read(**fields: Any) -> None:
        async for _ in stub.ListOrders(orders_pb2.ListOrdersRequest(**fields), timeout=TIMEOUT_S):
            pass

    assert await refusal(read(limit=-1)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "limit: must be 0 or more",
    )
    assert await refusal(read(after="x")) == (grpc.StatusCode.NOT_FOUND, "there is no order x")


async def test_a_call_ends_at_its_deadline(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(_book: OrderBook, _order_id: str) -> None:
        await asyncio.Event().wait()  # for ever

    monkeypatch.setattr(OrderBook, "get", get)
    code, _ = await refusal(stub.GetOrder(orders_pb2.GetOrderRequest(order_id="x"), timeout=0.05))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_deadline_ends_too(stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def get(_book: OrderBook, _order_id: str) -> None:
        await asyncio.Event().wait()  # for ever

    monkeypatch.setattr(OrderBook, "get", get)
    monkeypatch.setattr(service, "LONGEST_S", 0.05)
    code, details = await refusal(stub.GetOrder(orders_pb2.GetOrderRequest(order_id="x")))
    assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the time limit of the call is over")


async def test_health_and_reflection_name_the_service(channel: grpc.aio.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type] # stubs without aio
    reflected = stub.ServerReflectionInfo(iter([asked]))
    names = [each.name async for reply in reflected for each in reply.list_services_response.service]
    assert NAME in names
