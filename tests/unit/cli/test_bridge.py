"""`nsqkit bridge` and `nsqkit check` on the file of a bridge, with brokers in memory."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nsqkit.bridge import adapters
from nsqkit.bridge.bodies import RefusedError
from nsqkit.bridge.file import read_bridge
from nsqkit.bridge.letters import Letters
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import Route
from nsqkit.devbroker import DevBroker
from nsqkit.errors import BridgeError, OutageError
from nsqkit.policy.route import RefusalReason
from nsqkit.settings.settings import Settings
from tests.fake_brokers import FakeSource, FakeTarget

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit

FILE = """
[[route]]
name = "in"
from = "kafka://kafka.example:9092/sold?group=shop"
to = "nsq:cli_bridged"

[[route]]
name = "out"
from = "nsq:cli_bridged/partner"
to = "amqp://mq.example:5672/?routing_key=sold"
"""
SECRETS = {"NSQKIT_KAFKA_PASSWORD": "hush-kafka", "NSQKIT_RABBITMQ_PASSWORD": "hush-rabbit"}


class Brokers:
    """What the routes of a test read and write."""

    def __init__(self) -> None:
        self.source, self.target = FakeSource(), FakeTarget()

    def source_of(self, route: Route, settings: Settings) -> FakeSource:
        return self.source

    def target_of(self, route: Route, settings: Settings) -> FakeTarget:
        return self.target


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> Brokers:
    made = Brokers()
    monkeypatch.setattr(adapters, "missing", lambda _: None)
    monkeypatch.setattr(adapters, "source_of", made.source_of)
    monkeypatch.setattr(adapters, "target_of", made.target_of)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bridge.toml"
    path.write_text(FILE)
    return path


def test_check_names_the_number_of_routes(nsqkit: "Nsqkit", brokers: Brokers, file: Path) -> None:
    result = nsqkit("check", str(file))
    assert (result.code, result.out, result.err) == (0, "ok: 2 routes, no problems\n", "")


def test_check_lists_all_mistakes(nsqkit: "Nsqkit", file: Path) -> None:
    file.write_text(FILE.replace("kafka:", "kafak:").replace("partner", "part ner"))
    result = nsqkit("check", str(file))
    assert (result.code, len(result.err.splitlines())) == (2, 2)
    assert "route 'in': from: there is no scheme 'kafak'" in result.err


def test_check_with_connect_opens_both_ends(
    nsqkit: "Nsqkit", brokers: Brokers, file: Path, threaded_broker: DevBroker
) -> None:
    http = threaded_broker.http_address
    nsqd = ("--nsqd", threaded_broker.tcp_address, "--nsqd-http", http)
    assert nsqkit("check", str(file), "--connect", *nsqd).out == "ok: 2 routes, no problems\n"
    assert brokers.source.is_closed
    assert brokers.target.is_closed
    brokers.source.opening = [BridgeError("there is no topic 'sold'; create it, or set create = true")]
    brokers.target.opening = [OutageError("mq.example:5672: connection refused")]
    result = nsqkit("check", str(file), "--connect", *nsqd)
    assert result.code == 1
    assert result.err.splitlines() == [
        f"error: {file}: route 'in': there is no topic 'sold'; create it, or set create = true",
        f"error: {file}: route 'out': mq.example:5672: connection refused",
    ]
    assert "--connect needs an nsqd" in nsqkit("check", str(file), "--connect").err


def test_a_missing_library_is_named_with_what_to_install(
    nsqkit: "Nsqkit", file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("confluent_kafka", "aio_pika"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in [
        name for name in sys.modules if name.startswith(("nsqkit.bridge.kafka", "nsqkit.bridge.rabbit"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    result = nsqkit("check", str(file))
    first, second = result.err.splitlines()
    assert (result.code, "'nsqkit[kafka]'" in first, "'nsqkit[rabbitmq]'" in second) == (2, True, True)
    assert "route 'in'" in first
    assert "route 'out'" in second


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("bridge", "bridge.toml"), "no NSQ to consume from", id="no NSQ"),
        pytest.param(
            ("bridge", "shop.orders", "--dev"), "shop.orders is not the file of a bridge", id="no file"
        ),
        pytest.param(("check", "bridge.toml", "shop"), "give it alone", id="and a module"),
        pytest.param(("bridge", "none.toml", "--dev"), "none.toml: there is no such file", id="not there"),
    ],
)
def test_wrong_use(nsqkit: "Nsqkit", file: Path, arguments: tuple[str, ...], expected: str) -> None:
    result = nsqkit(*arguments)
    assert result.code == 2
    assert expected in result.err


def test_what_does_not_exist_ends_the_start(nsqkit: "Nsqkit", brokers: Brokers, file: Path) -> None:
    brokers.source.opening = [BridgeError("there is no topic 'sold'; create it, or set create = true")]
    result = nsqkit(
        "bridge",
        str(file),
        "--dev",
        "--set",
        "dev_tcp_port=0",
        "--set",
        "dev_http_port=0",
        "--admin-port",
        "0",
    )
    assert result.code == 2
    assert f"error: {file}: route 'in': there is no topic 'sold'" in result.err


def test_a_bridge_runs_until_a_signal(nsqkit: "Nsqkit", brokers: Brokers, file: Path) -> None:
    """A record goes through NSQ from one broker to the other; the table at the end shows both routes."""
    brokers.source = FakeSource([Record(body=b"1", origin="sold[0]")])
    wait_sent = brokers.target.send

    async def send_and_stop(record: Record) -> None:
        await wait_sent(record)
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)

    brokers.target.send = send_and_stop  # type: ignore[method-assign]
    result = nsqkit(
        "bridge",
        str(file),
        "--dev",
        "--set",
        "dev_tcp_port=0",
        "--set",
        "dev_http_port=0",
        "--admin-port",
        "0",
    )
    assert result.code == 0
    assert [record.body for record in brokers.target.sent] == [b"1"]
    rows = {
        line.split()[0]: line.split()[1:3] for line in result.out.splitlines() if line[:2] in {"in", "ou"}
    }
    assert rows == {"in": ["1", "1"], "out": ["1", "1"]}


def test_its_dead_letters_are_listed_shown_and_replayed(nsqkit: "Nsqkit", file: Path) -> None:
    """Their place at the other broker and their headers are shown, without secrets."""
    route = read_bridge(file).routes[0]
    record = Record(body=None, origin="sold[3]", position=17, headers=(("a", b"b"), ("password", b"hush")))
    refused = RefusedError(RefusalReason.TOMBSTONE, "it has no value")
    asyncio.run(Letters(route, "dead.sqlite").add([(record, refused)]))
    store = ("--store", "dead.sqlite")
    listed = nsqkit("dead", "ls", "--where", "handler=in", *store).out
    shown = nsqkit("dead", "show", "1", *store).out
    assert ("kafka:sold" in listed, "tombstone" in listed) == (True, True)
    assert ("sold[3]@17" in shown, "kafka:sold on kafka.example:9092" in shown) == (True, True)
    assert ("'a': 'b'" in shown, "hush" in shown) == (True, False)
    planned = nsqkit("dead", "replay", "1", "--dry-run", *store)
    assert planned.out == "1 dead letter would go to cli_bridged on any nsqd\n"


def test_without_a_bridge_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; import nsqkit.process.run, nsqkit.process.supervisor, nsqkit.cli.app; "
        "print([name for name in sys.modules if name.startswith('nsqkit.bridge')])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
