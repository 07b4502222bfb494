"""Sagas: whatever stops, every order is confirmed or undone, and nothing happens twice."""

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from nsqkit import Publisher, Settings
from nsqkit.sql import Database
from nsqkit.sql.urls import DatabaseUrl
from tests.e2e.conftest import NO_ADMIN, Program, Start
from tests.e2e.saga_shop import POINTS, Order, SagaShop
from tests.ports import free_port
from tests.postgres import running
from tests.waiting import until_blocking

NAMES = ("orders", "stock", "payments")
ORDERS = ("good1", "good2", "poor1", "late1", "good3", "late2", "poor2", "good4")
QUICK = ("--set", "msg_timeout_s=1", "--set", "outbox_lease_s=1", "--log-format", "json")
pytestmark = pytest.mark.slow


class Shop:
    """The databases of the services, and the arguments for their processes."""

    def __init__(self, urls: dict[str, str], address: str) -> None:
        app = {f"{name}_url": url for name, url in urls.items()}
        self.settings = Settings(app=app, nsqd=(address,))
        self.arguments: tuple[str, ...] = ("--nsqd", address, *QUICK)
        for name, url in app.items():
            self.arguments += ("--app", f"{name}={url}")
        self.engines = {name: sa.create_engine(DatabaseUrl.read(name, self.settings).plain) for name in NAMES}
        for name, engine in self.engines.items():
            Database(name).upgrade(self.settings)
            with engine.begin() as connection:
                connection.exec_driver_sql("CREATE TABLE changes (id TEXT, change INTEGER)")

    def statuses(self) -> dict[str, str]:
        with self.engines["orders"].connect() as connection:
            rows = connection.execute(sa.text("SELECT key, status FROM nsqkit_saga"))
            return {row.key: row.status for row in rows}

    def are_final(self) -> bool:
        found = self.statuses()
        return len(found) == len(ORDERS) and not {"running", "compensating"} & set(found.values())

    def balance(self, name: str) -> dict[str, list[int]]:
        """Return the changes of each order, in order."""
        query = sa.text("SELECT id, change FROM changes ORDER BY id, change DESC")
        found: dict[str, list[int]] = {}
        with self.engines[name].connect() as connection:
            for order_id, change in connection.execute(query):
                found.setdefault(order_id, []).append(change)
        return found

    def close(self) -> None:
        for engine in self.engines.values():
            engine.dispose()


@pytest.fixture(params=["embedded", pytest.param("real", marks=[pytest.mark.nsqd, pytest.mark.postgresql])])
def shop(request: pytest.FixtureRequest, tmp_path: Path, start: Start) -> Iterator[Shop]:
    with contextlib.ExitStack() as stack:
        if request.param == "embedded":
            port = free_port()
            start("broker", "--tcp-port", str(port), "--http-port", str(free_port()))
            urls = {name: f"sqlite:///{tmp_path}/{name}.sqlite" for name in NAMES}
            address = f"127.0.0.1:{port}"
        else:
            address = request.getfixturevalue("nsqd").tcp_address
            server = stack.enter_context(running())
            urls = {name: _schema(server, name) for name in NAMES}
        found = Shop(urls, address)
        stack.callback(found.close)
        yield found


def _schema(server: str, name: str) -> str:
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")
    engine.dispose()
    return f"{server}?options=-csearch_path%3D{name}"


def _is_over(shop: Shop, worker: Program) -> bool:
    return shop.are_final() or worker.has_ended


async def _place(shop: Shop) -> None:
    async with Publisher(settings=shop.settings) as publisher:
        for order_id in ORDERS:
            await publisher.publish(SagaShop.start(order_id, Order(order_id)))


def test_every_order_is_confirmed_or_undone_although_processes_are_killed_between_two_writes(
    shop: Shop, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    died = tmp_path / "died"
    died.mkdir()
    mortal = ("--set", "middleware=tests.e2e.saga_shop:Mortal")
    worker = ("run", "tests.e2e.saga_shop:SagaShop", *shop.arguments, *NO_ADMIN, *mortal)
    services = tuple(f"tests.e2e.saga_shop:{name}" for name in ("Stock", "Payments"))
    relays = (("relay", name, *shop.arguments) for name in NAMES)
    others = (("run", *services, *shop.arguments, *NO_ADMIN), *relays)
    rest = [start(*each) for each in others]
    monkeypatch.setenv("SHOP_DIES", str(died))
    program = start(*worker)
    program.until(lambda: program.said("worker_started"))
    asyncio.run(_place(shop))
    for each in rest:
        each.kill()
    for arguments in others:
        start(*arguments)
    while not shop.are_final():
        until_blocking(partial(_is_over, shop, program))
        if program.has_ended:
            program = start(*worker)
    assert {path.name for path in died.iterdir()} == set(POINTS)
    assert shop.statuses() == {
        order_id: "completed" if order_id.startswith("good") else "compensated" for order_id in ORDERS
    }
    assert shop.balance("stock") == {
        order_id: [1] if order_id.startswith("good") else [1, -1] for order_id in ORDERS
    }
    assert shop.balance("payments") == {
        order_id: [1] if order_id.startswith("good") else [1, -1]
        for order_id in ORDERS
        if not order_id.startswith("poor")
    }
