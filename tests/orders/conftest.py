"""What tests of the order system share: its services on real ports, each with an empty database."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest

from examples.orders import schema
from examples.orders.edge.order_client import OrderClient
from examples.orders.edge.server import create_app
from examples.orders.orders import server
from examples.orders.orders.v1 import orders_pb2_grpc
from nsqkit import Settings
from tests.ports import free_port
from tests.waiting import PATIENCE_S


def settings_in(folder: Path) -> Settings:
    """Return the settings of every service: databases and mails in a folder, free ports, nsqd away."""
    urls = {f"{name}_url": f"sqlite:///{folder}/{name}.sqlite" for name in schema.SERVICES}
    others = {"orders_grpc": "127.0.0.1:0", "mail_folder": str(folder / "mail")}
    nsqd = (f"127.0.0.1:{free_port()}",)
    return Settings(app={**urls, **others}, nsqd=nsqd, lock_timeout_s=PATIENCE_S)


@pytest.fixture(scope="session")
def empty_databases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the database of each service, without rows; migrated once, to save time."""
    folder = tmp_path_factory.mktemp("databases")
    for name in schema.SERVICES:
        schema.upgrade(name, settings_in(folder))
    return folder


@pytest.fixture
def settings(empty_databases: Path, tmp_path: Path) -> Settings:
    """Settings of every service, each with an empty database."""
    for file in empty_databases.iterdir():
        shutil.copy(file, tmp_path)
    return settings_in(tmp_path)


@pytest.fixture
async def address(settings: Settings) -> AsyncIterator[str]:
    """``host:port`` of a running server of orders."""
    async with server.serving(settings) as found:
        yield found


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as found:
        yield found


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> orders_pb2_grpc.OrderServiceStub:
    return orders_pb2_grpc.OrderServiceStub(channel)  # type: ignore[no-untyped-call] # generated


@pytest.fixture
async def rest(address: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the REST API; the edge is in this process, orders behind a real port."""
    async with OrderClient.connected(address) as orders, client_of(orders) as found:
        yield found


def client_of(orders: OrderClient) -> httpx.AsyncClient:
    """Return a client of an edge in this process."""
    transport = httpx.ASGITransport(create_app(orders))
    return httpx.AsyncClient(transport=transport, base_url="http://edge/api/v1")
