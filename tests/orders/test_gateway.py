"""The payment gateway behaves as a request has set it, and its books survive its process."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from examples.orders.payments.gateway import Behaviour, Books, Gateway, create_app
from examples.orders.payments.gateway_client import DeclinedError, GatewayClient, GatewayError
from nsqkit import BreakerOpenError


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a gateway that fails with every draw below its ratio; all draws are 0.5."""
    books = Books(str(tmp_path / "books.sqlite"))
    app = create_app(Gateway(books, Behaviour(), draw=lambda: 0.5))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as found:
        yield found
    books.close()


async def behave(http: httpx.AsyncClient, **wanted: object) -> None:
    (await http.put("/behaviour", json=wanted)).raise_for_status()


async def charged(http: httpx.AsyncClient) -> int:
    cents: int = (await http.get("/totals")).json()["charged_cents"]
    return cents


@pytest.mark.parametrize(
    ("ratio", "cents"),
    [
        pytest.param(1.0, 500, id="a call may fail after its effect"),
        pytest.param(0.9, 500, id="half of the failures are after it"),
    ],
)
async def test_the_result_of_a_failed_call_is_unknown(
    http: httpx.AsyncClient, ratio: float, cents: int
) -> None:
    await behave(http, failure_ratio=ratio)
    with pytest.raises(GatewayError, match="HTTP 500"):
        await GatewayClient(http).charge("o1", 500)
    assert await charged(http) == cents


async def test_a_charge_is_made_once_and_refunded_once(http: httpx.AsyncClient) -> None:
    client = GatewayClient(http)
    for _ in range(2):
        await client.charge("o1", 500)
    for _ in range(2):
        await client.refund("o1")
    assert (await http.get("/totals")).json() == {"charged_cents": 500, "refunded_cents": 500}


async def test_a_refund_that_comes_first_prevents_the_charge(http: httpx.AsyncClient) -> None:
    client = GatewayClient(http)
    await client.refund("o1")
    with pytest.raises(DeclinedError, match="refunded before"):
        await client.charge("o1", 500)
    assert await charged(http) == 0


async def test_while_it_is_down_the_client_stops_to_ask(http: httpx.AsyncClient) -> None:
    await behave(http, is_down=True)
    client = GatewayClient(http)
    for _ in range(5):
        with pytest.raises(GatewayError, match="HTTP 503"):
            await client.charge("o1", 500)
    with pytest.raises(BreakerOpenError):
        await client.charge("o1", 500)


async def test_a_gateway_that_is_away_is_an_unknown_result(http: httpx.AsyncClient) -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow")

    async with httpx.AsyncClient(transport=httpx.MockTransport(away), base_url="http://gateway") as slow:
        with pytest.raises(GatewayError, match="no answer: ReadTimeout"):
            await GatewayClient(slow).charge("o1", 500)
