"""Edge: the REST API, its errors, and what it does while orders is away."""

from typing import Any

import httpx
import pytest

from examples.orders.edge.order_client import OrderClient
from nsqkit import Settings
from tests.orders.conftest import client_of
from tests.ports import free_port

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BASKET: dict[str, Any] = {
    "customer_id": "c1",
    "lines": [{"product": "tea", "quantity": 2, "amount_cents": 500}],
}


def key(text: str = "k1") -> dict[str, str]:
    return {"Idempotency-Key": text}


def with_line(**changes: Any) -> dict[str, Any]:
    return BASKET | {"lines": [BASKET["lines"][0] | changes]}


async def test_an_order_is_placed_and_found_at_its_location(rest: httpx.AsyncClient) -> None:
    placed = await rest.post("/orders", json=BASKET, headers=key())
    assert placed.status_code == 201
    assert placed.json()["status"] == "pending"
    assert placed.headers["Location"] == f"/api/v1/orders/{placed.json()['order_id']}"
    found = await rest.get(f"http://edge{placed.headers['Location']}")
    assert (found.status_code, found.json()) == (200, placed.json())


async def test_the_same_request_gets_the_same_answer_and_another_one_with_the_key_is_refused(
    rest: httpx.AsyncClient,
) -> None:
    first = await rest.post("/orders", json=BASKET, headers=key())
    again = await rest.post("/orders", json=BASKET, headers=key())
    assert (again.status_code, again.json()) == (201, first.json())
    other = await rest.post("/orders", json=BASKET | {"customer_id": "c2"}, headers=key())
    assert (other.status_code, other.json()["detail"]) == (409, "the key k1 belongs to another order")


async def test_the_trace_of_the_caller_is_that_of_the_order(rest: httpx.AsyncClient) -> None:
    placed = await rest.post("/orders", json=BASKET, headers=key() | {"traceparent": TRACEPARENT})
    assert placed.json()["trace_id"] == TRACEPARENT[3:35]
    assert placed.headers["traceparent"][:35] == TRACEPARENT[:35]


async def test_pages_follow_each_other(rest: httpx.AsyncClient) -> None:
    placed = [(await rest.post("/orders", json=BASKET, headers=key(f"k{n}"))).json() for n in range(3)]
    first = (await rest.get("/orders", params={"limit": 2})).json()
    assert first == {"orders": placed[:2], "next": placed[1]["order_id"]}
    last = (await rest.get("/orders", params={"limit": 2, "after": first["next"]})).json()
    assert last == {"orders": placed[2:], "next": None}


@pytest.mark.parametrize(
    ("body", "headers", "field"),
    [
        pytest.param(BASKET, {}, "idempotency-key", id="no key"),
        pytest.param(BASKET, key("k" * 129), "idempotency-key", id="a long key"),
        pytest.param(BASKET | {"customer_id": ""}, key(), "customer_id", id="no customer"),
        pytest.param(BASKET | {"email": "ann"}, key(), "email", id="no mail address"),
        pytest.param(BASKET | {"colour": "red"}, key(), "colour", id="an unknown field"),
        pytest.param(BASKET | {"lines": []}, key(), "lines", id="no lines"),
        pytest.param(with_line(quantity=0), key(), "lines.0.quantity", id="no pieces"),
        pytest.param(with_line(quantity="2"), key(), "lines.0.quantity", id="a number as text"),
        pytest.param(with_line(amount_cents=-1), key(), "lines.0.amount_cents", id="a negative price"),
    ],
)
async def test_a_wrong_field_is_named(
    rest: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str], field: str
) -> None:
    answer = await rest.post("/orders", json=body, headers=headers)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("body", [b"{", b'{"customer_id": "\xff"}'], ids=["cut off", "not UTF-8"])
async def test_a_body_that_is_no_json_is_refused(rest: httpx.AsyncClient, body: bytes) -> None:
    answer = await rest.post("/orders", content=body, headers=key() | {"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body")


@pytest.mark.parametrize("path", ["/orders/x", "/orders/%0A", "/orders?after=x", "/nowhere"])
async def test_what_is_not_there_is_a_problem_too(rest: httpx.AsyncClient, path: str) -> None:
    answer = await rest.get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_while_orders_is_away_the_answer_says_when_to_retry() -> None:
    async with (
        OrderClient.connected(f"127.0.0.1:{free_port()}", open_s=60) as orders,
        client_of(orders) as rest,
    ):
        answers = [await rest.get("/orders/x") for _ in range(3)]
        ready = await rest.get("http://edge/readyz")
    assert [each.status_code for each in answers] == [503, 503, 503]
    assert answers[0].headers["Retry-After"] == "1"
    assert int(answers[2].headers["Retry-After"]) > 1, "the breaker is open"
    assert ready.status_code == 503


async def test_the_document_names_every_answer(rest: httpx.AsyncClient) -> None:
    document = (await rest.get("/openapi.json")).json()
    answers = {
        (method, path): sorted(found["responses"])
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    }
    assert answers == {
        ("post", "/orders"): ["201", "409", "422", "503"],
        ("get", "/orders"): ["200", "404", "422", "503"],
        ("get", "/orders/{order_id}"): ["200", "404", "422", "503"],
    }
    assert list(document["paths"]["/orders"]["post"]["responses"]["422"]["content"]) == [
        "application/problem+json"
    ]
    assert document["servers"] == [{"url": "/api/v1"}]
    assert (await rest.get("/docs")).status_code == 200


async def test_the_edge_is_ready_when_orders_is(rest: httpx.AsyncClient, settings: Settings) -> None:
    assert (await rest.get("http://edge/readyz")).text == "ready"
