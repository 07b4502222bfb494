"""The whole story with real brokers: from Kafka to NSQ, to a handler, and from NSQ to RabbitMQ."""

import json
import os
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.amqp import connected
from tests.bridge.topics import Topic
from tests.e2e.conftest import Start, get, nsq_programs, nsqd, start, start_nsqd
from tests.integration.conftest import Server
from tests.kafka import Kafka
from tests.ports import free_port
from tests.rabbitmq import PASSWORD, USER, Rabbitmq
from tests.waiting import PATIENCE_S, until, until_blocking

__all__ = ["nsq_programs", "nsqd", "start", "start_nsqd"]

pytestmark = [pytest.mark.rabbitmq, pytest.mark.nsqd]

TEAM = """
from dataclasses import dataclass
from nsqkit import Context, Handler, event

@event("story.ordered", version=1, topic="story_orders")
@dataclass
class Ordered:
    n: int

@event("story.notified", version=1, topic="story_notified")
@dataclass
class Notified:
    n: int

class Confirm(Handler[Ordered], channel="confirm"):
    async def handle(self, event: Ordered, ctx: Context) -> None:
        ctx.publish(Notified(event.n))
"""
FILE = """
[[route]]
name = "orders-in"
from = "kafka://{kafka}/{topic}?group=story"
to = "nsq:story_orders"
max_depth = 1000

[[route]]
name = "to-partner"
from = "nsq:story_notified/to-partner"
to = "amqp://127.0.0.1:{port}/?routing_key={queue}"
mode = "binary"
"""
BINARY = [
    ("ce_specversion", b"1.0"),
    ("ce_type", b"story.ordered.v1"),
    ("ce_source", b"shop"),
    ("ce_id", b"binary"),
    ("content-type", b"application/json"),
]


def _order(number: int) -> bytes:
    event = {"specversion": "1.0", "type": "story.ordered.v1", "source": "shop", "id": f"order-{number}"}
    return json.dumps({**event, "data": {"n": number}}).encode()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the handlers of a team, and with the password for RabbitMQ in a settings file."""
    (tmp_path / "story_team.py").write_text(TEAM)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    settings = tmp_path / "bridge-settings.toml"
    settings.write_text(f'[nsqkit]\nrabbitmq_username = "{USER}"\nrabbitmq_password = "{PASSWORD}"\n')
    settings.chmod(0o600)
    return tmp_path


async def test_orders_from_kafka_reach_a_partner_at_rabbitmq(
    kafka: Kafka, rabbitmq: Rabbitmq, nsqd: Server, start: Start, folder: Path
) -> None:
    """What NSQ cannot take is in the store, nothing is lost, and the password is shown nowhere."""
    topic = Topic(kafka, partitions=2, max_message_bytes="3000000")
    numbers = range(20)
    topic.write(*map(_order, numbers))
    topic.write(b'{"n": 20}', headers=BINARY, partition=1)
    topic.write(None, partition=1)
    large = Producer({"bootstrap.servers": kafka.address, "message.max.bytes": 3_000_000})
    large.produce(topic.name, b"x" * 2_000_000)
    assert large.flush(PATIENCE_S) == 0
    async with connected(rabbitmq) as client:
        queue = await client.quorum_queue()
        file = folder / "bridge.toml"
        file.write_text(FILE.format(kafka=kafka.address, topic=topic.name, port=rabbitmq.port, queue=queue))
        nsq = ("--nsqd", nsqd.tcp_address, "--nsqd-http", nsqd.http_address)
        port = free_port()
        bridge = start(
            "bridge",
            str(file),
            *nsq,
            "--config",
            str(folder / "bridge-settings.toml"),
            "--admin-port",
            str(port),
        )
        team = start("run", "story_team", *nsq, "--admin-port", "0")
        await until(lambda: client.ready(queue), lambda ready: ready >= 21)
        admin = f"127.0.0.1:{port}"
        metrics = until_blocking(lambda: get(admin, "/metrics")[1], lambda text: _count(text) == 23)
        shown = "".join(get(admin, path)[1] for path in ("/readyz", "/handlers", "/"))
        shown += Path(f"/proc/{bridge._process.pid}/cmdline").read_text()  # noqa: ASYNC240 - of the kernel
        assert (bridge.terminate(), team.terminate()) == (0, 0)
        messages = [await client.get(queue) for _ in range(21)]
        assert await client.get(queue) is None
    found = {json.loads(message.body)["n"] for message in messages if message is not None}
    assert found == set(range(21))
    assert all(message and message.headers["cloudEvents_type"] == "story.notified.v1" for message in messages)
    assert 'nsqkit_route_refused_total{route="orders-in",reason="tombstone"} 1' in metrics
    assert 'nsqkit_route_refused_total{route="orders-in",reason="too_large"} 1' in metrics
    assert bridge.rows["orders-in"]["success"] == "21"
    assert bridge.rows["to-partner"]["success"] == "21"
    assert PASSWORD not in bridge.err + bridge.out + metrics + shown


def _count(metrics: str) -> float:
    start = 'nsqkit_messages_received_total{topic="story_orders"'
    return sum(float(line.split()[-1]) for line in metrics.splitlines() if line.startswith(start))
