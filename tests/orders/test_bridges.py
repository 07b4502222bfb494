"""The whole system with a real Kafka and a real RabbitMQ, as the README shows it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from examples.orders import place
from tests import kafka, rabbitmq
from tests.orders.readme import Readme
from tests.orders.running import System
from tests.ports import free_port

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


def test_an_order_that_is_open_at_the_end_of_the_wait_makes_the_exit_code_1(
    system: System, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    httpx.put(f"{system.gateway}/behaviour", json={"is_down": True}).raise_for_status()
    for variable, line in (("KAFKA_PORT", "Kafka"), ("AMQP_PORT", "RabbitMQ")):
        monkeypatch.setenv(variable, system.address(line).rpartition(":")[2])
    monkeypatch.setattr(sys, "argv", ["place-orders", "1", "--kafka", "--wait", "1"])
    assert place.main() == 1
    assert capsys.readouterr().out == (
        "1 placed, 0 confirmed, 0 cancelled, 1 open; 0 notifications in the partner's queue\n"
    )


def test_a_system_without_bridges_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMQP_PORT", str(free_port()))
    monkeypatch.setattr(sys, "argv", ["place-orders", "1", "--kafka"])
    assert place.main() == 1
    assert capsys.readouterr().err.endswith("; does order-system run with --bridges?\n")
