"""The services on a real PostgreSQL, each with a database of its own."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import sqlalchemy as sa

from examples.orders import place, schema
from examples.orders.events import Line
from examples.orders.inventory import shelves
from examples.orders.orders import server
from examples.orders.orders.placement import Placement, PlaceOrder
from examples.orders.orders.v1 import orders_pb2, orders_pb2_grpc
from examples.orders.payments.gateway_client import DeclinedError, GatewayClient
from examples.orders.variables import create_databases
from nsqkit import Settings
from nsqkit.testing import Harness
from tests.orders.running import ROOT, System
from tests.orders.test_placement import HANDLERS
from tests.ports import free_port
from tests.postgres import running
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.postgresql, pytest.mark.slow]


class Bank(GatewayClient):
    """Declines everything."""

    def __init__(self) -> None:
        pass

    async def charge(self, order_id: str, amount_cents: int) -> None:
        raise DeclinedError("no money")


@pytest.fixture
def on_postgres() -> Iterator[Settings]:
    with running() as url:
        create_databases(url)
        create_databases(url)  # nothing is left to do
        of_server = sa.make_url(url)
        urls = {
            f"{name}_url": of_server.set(database=name).render_as_string(hide_password=False)
            for name in schema.SERVICES
        }
        found = Settings(app={**urls, "orders_grpc": "127.0.0.1:0"}, nsqd=(f"127.0.0.1:{free_port()}",))
        for name in schema.SERVICES:
            schema.upgrade(name, found)
        shelves.fill(["tea"], found)
        yield found


async def test_an_order_is_placed_and_cancelled(on_postgres: Settings) -> None:
    lines = [orders_pb2.Line(product="tea", quantity=2, amount_cents=500)]
    request = orders_pb2.CreateOrderRequest(idempotency_key="k1", customer_id="c1", lines=lines)
    async with server.serving(on_postgres) as address, grpc.aio.insecure_channel(address) as channel:
        stub = orders_pb2_grpc.OrderServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        placed = await stub.CreateOrder(request)
        assert await stub.CreateOrder(request) == placed
        placement = Placement(placed.order_id, "", (Line("tea", 2),), placed.total_cents)
        async with Harness(HANDLERS, settings=on_postgres, resources={GatewayClient: Bank()}) as h:
            await h.publish(PlaceOrder.start(placed.order_id, placement))
            await h.settle(through_delays=True)
        found = await stub.GetOrder(orders_pb2.GetOrderRequest(order_id=placed.order_id))
    assert (found.status, found.reason) == (
        orders_pb2.ORDER_STATUS_CANCELLED,
        "payment declined: no money",
    )


def test_the_whole_system_runs_on_the_embedded_one() -> None:
    packages = next(ROOT.glob(".postgres/lib/python3*/site-packages"), None)
    if packages is None:
        pytest.skip("no embedded PostgreSQL: run scripts/install-postgres")
    # As root, the package makes all folders above its programs and its data readable for everybody.
    with tempfile.TemporaryDirectory(prefix="nsqkit-orders-", ignore_cleanup_errors=True) as folder:
        here = Path(folder)
        copied = shutil.copytree(packages, here / "packages", ignore=shutil.ignore_patterns("pip"))
        system = System(here, {"PYTHONPATH": f"{ROOT}:{copied}"}, "--postgres", "embedded")
        try:
            system.wait_ready()
            placing = place.run(system.address("REST API"), 5, rate=0, wait_s=PATIENCE_S)
            assert asyncio.run(placing) == 0, "no order is open"
            assert (system.data / "postgres" / "PG_VERSION").read_text() == "18\n"
        finally:
            system.end()
        assert system.process.returncode == 0, system.out
