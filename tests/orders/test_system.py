"""The whole system, as a person starts it: processes on the embedded broker, orders by REST."""

import asyncio
import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from examples.orders import place
from tests.waiting import PATIENCE_S, until_blocking

ROOT = Path(__file__).parents[2]
ORDERS = 30
pytestmark = pytest.mark.slow


class System:
    """The running program.

    Args:
        folder: Its data.
    """

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self._out = folder / "out"
        command = [sys.executable, "-m", "examples.orders.system", "--free-ports", "--data", str(self.data)]
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT)

    @property
    def out(self) -> str:
        return self._out.read_text()

    def address(self, name: str) -> str:
        found = re.search(rf"^{name} +(\S+)$", self.out, re.MULTILINE)
        assert found, self.out
        return found[1]

    def wait_ready(self) -> None:
        until_blocking(lambda: "ready; Ctrl-C stops all" in self.out or self.process.poll() is not None)
        assert self.process.poll() is None, self.out

    def rows(self, name: str, query: str, *values: str) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.data / f"{name}.sqlite")
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    found = System(tmp_path_factory.mktemp("system"))
    try:
        found.wait_ready()
        yield found
    finally:
        found.process.send_signal(signal.SIGINT)
        found.process.wait(PATIENCE_S)
    assert found.process.returncode == 0, found.out


def test_every_order_is_confirmed_or_cancelled_and_the_books_agree(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    httpx.put(f"{gateway(system)}/behaviour", json={"failure_ratio": 0.2}).raise_for_status()
    placing = place.run(system.address("REST API"), ORDERS, rate=0, wait_s=PATIENCE_S)
    assert asyncio.run(placing) == 0, "no order is open"
    assert re.fullmatch(
        rf"{ORDERS} placed, \d+ confirmed, [1-9]\d* cancelled, 0 open\n", capsys.readouterr().out
    ), "some baskets have petrol, of which there is not enough"

    ((confirmed,),) = system.rows("orders", "SELECT sum(total_cents) FROM orders WHERE status = 'confirmed'")
    totals = httpx.get(f"{gateway(system)}/totals").json()
    assert totals["charged_cents"] - totals["refunded_cents"] == confirmed
    ((reserved,),) = system.rows(
        "inventory",
        "SELECT sum(line.value ->> 'quantity') FROM reservations, json_each(lines) AS line"
        " WHERE status = 'reserved'",
    )
    assert system.rows("inventory", "SELECT sum(1000 - free) FROM stock") == [(reserved,)]


def test_one_order_is_followed_by_its_id_through_all_services(system: System) -> None:
    url = system.address("REST API")
    orders = httpx.get(f"{url}/orders", params={"limit": ORDERS}).json()["orders"]
    key = next(order["order_id"] for order in orders if order["status"] == "confirmed")
    until_blocking(lambda: len(list((system.data / "mail").glob(f"{key}.*.eml"))) == 2)
    logs = (system.data / "logs").glob("*.log")
    lines = [line for log in logs for line in log.read_text().splitlines() if key in line]
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


def gateway(system: System) -> str:
    return system.address("payment gateway").removesuffix("/docs")
