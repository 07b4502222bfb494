"""The whole system with a real Kafka and a real RabbitMQ, as the README shows it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import kafka, rabbitmq
from tests.orders.readme import Readme
from tests.orders.running import System

pytestmark = [pytest.mark.rabbitmq, pytest.mark.slow]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    kafka.require()
    rabbitmq.require()
    found = System(tmp_path_factory.mktemp("bridged"), {}, "--bridges")
    try:
        found.wait_ready()
        yield found
    finally:
        found.end()
    assert found.process.returncode == 0, found.out


def test_the_section_of_the_readme_shows_what_its_commands_show(system: System, tmp_path: Path) -> None:
    Readme(system, tmp_path).follow_bridges()
    placed = "SELECT count(*), count(DISTINCT trace_id) FROM orders WHERE idempotency_key LIKE 'event %'"
    assert system.rows("orders", placed) == [(20, 20)]
    monitor = system.address("monitor of bridge")
    states = httpx.get(f"{monitor}handlers").json()["handlers"]
    assert {each["name"] for each in states} == {"orders-in", "confirmed-to-partner", "cancelled-to-partner"}
