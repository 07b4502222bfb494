"""The whole story with real brokers: from Kafka to NSQ, to a handler, and from NSQ to RabbitMQ."""

import json
import os
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from nsqkit.nsq.http import NsqdHttp
from nsqkit.policy.depth_limit import depth_in
from tests.amqp import Client
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
    client = Client(rabbitmq)
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
    metrics = until_blocking(lambda: get(admin, "/metrics")[1], _has_all_refused)
    shown = "".join(get(admin, path)[1] for path in ("/readyz", "/handlers", "/"))
    shown += Path(f"/proc/{bridge._process.pid}/cmdline").read_text()  # noqa: ASYNC240 - of the kernel
    assert (bridge.terminate(), team.terminate()) == (0, 0)
    messages = [await client.get(queue) for _ in range(21)]
    assert await client.get(queue) is None
    found = {json.loads(message.body)["n"] for message in messages if message is not None}
    assert found == set(range(21))
    assert all(message and message.headers["cloudEvents_type"] == "story.notified.v1" for message in messages)
    assert bridge.rows["orders-in"]["success"] == "21"
    assert bridge.rows["to-partner"]["success"] == "21"
    assert PASSWORD not in bridge.err + bridge.out + metrics + shown


def _has_all_refused(metrics: str) -> bool:
    reasons = ("tombstone", "too_large")
    refused = 'nsqkit_route_refused_total{route="orders-in",reason="%s"} 1'
    return all(refused % reason in metrics for reason in reasons)


async def test_several_processes_share_the_work(
    rabbitmq: Rabbitmq, nsqd: Server, start: Start, folder: Path
) -> None:
    """The parent shows one row for the route, pauses it in both, and both drain at the end."""
    client = Client(rabbitmq)
    queue = await client.quorum_queue()
    file = folder / "bridge.toml"
    source = f"amqp://127.0.0.1:{rabbitmq.port}/{queue}?prefetch=5"
    file.write_text(f'[[route]]\nname = "in"\nfrom = "{source}"\nto = "nsq:story_shared"\n')
    nsq = ("--nsqd", nsqd.tcp_address, "--nsqd-http", nsqd.http_address)
    port = free_port()
    settings = ("--config", str(folder / "bridge-settings.toml"), "--admin-port", str(port))
    bridge = start("bridge", str(file), *nsq, *settings, "--workers", "2")
    admin = f"127.0.0.1:{port}"
    bridge.until(lambda: get(admin, "/readyz")[0] == 200)
    await client.publish(queue, *(b"%d" % number for number in range(50)))
    http = NsqdHttp(nsqd.http_address)
    read = partial(depth_in, topic="story_shared")
    assert await until(lambda: http.read_stats(read, "story_shared"), lambda depth: depth >= 50) == 50
    paused = start("pause", "--handler", "in", "--worker", admin)
    assert paused.wait() == 0
    states = json.loads(get(admin, "/handlers")[1])["handlers"]
    assert [(each["name"], each["state"]) for each in states] == [("in", "paused")] * 2
    assert bridge.terminate() == 0
    assert bridge.rows["in"]["success"] == "50"
