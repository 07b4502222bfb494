"""The real nsqadmin, on the embedded broker: its pages load, its counts are right, its buttons work."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from nsqkit.devbroker import DevBroker, DevLookupd
from tests.integration.conftest import Server
from tests.unit.devbroker.raw_client import RawClient, dpub, mpub
from tests.waiting import until

pytestmark = pytest.mark.nsqd


class Cluster:
    """The embedded broker, registered, and a client that holds 2 of its 5 messages; one is deferred."""

    def __init__(self, broker: DevBroker, admin_address: str) -> None:
        self.broker = broker
        self._admin_address = admin_address

    async def ask(self, path: str, method: str = "GET", **body: str) -> Any:
        """Return what nsqadmin's own pages get from it."""
        request = HTTPRequest(
            f"http://{self._admin_address}{path}",
            method=method,
            body=json.dumps(body) if method == "POST" or body else None,
            allow_nonstandard_methods=True,
        )
        response = await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)
        assert response.code == 200, (path, response.body)
        return json.loads(response.body) if path.startswith("/api") else response.body

    async def until(self, path: str, name: str, value: object) -> None:
        """Wait until nsqadmin shows a value; the brokers tell each other of changes without a reply."""
        await until(lambda: self.ask(path), lambda answer: answer.get(name) == value)


@pytest.fixture
async def cluster(nsq_programs: Path, tmp_path: Path) -> AsyncIterator[Cluster]:
    lookupd = DevLookupd(0, 0)
    await lookupd.start()
    broker = DevBroker(0, 0, lookupd_tcp_addresses=[lookupd.tcp_address])
    await broker.start()
    program = nsq_programs / "nsqadmin"
    admin = Server(program, tmp_path)
    admin._command = [
        str(program),
        f"-http-address={admin.http_address}",
        f"-lookupd-http-address={lookupd.http_address}",
    ]
    await asyncio.to_thread(admin.start)
    client = await RawClient.connect(broker.tcp_address)
    await client.subscribe("t", "c", ready=2, client_id="me", hostname="here")
    client.send(mpub("t", b"1", b"2", b"3", b"4"), dpub("t", 900_000, b"5"))
    await client.frames_until(b"OK", 2)
    cluster = Cluster(broker, admin.http_address)
    await cluster.until("/api/topics", "topics", ["t"])
    yield cluster
    await client.close()
    await asyncio.to_thread(admin.stop)
    await broker.stop()
    await lookupd.stop()


async def test_every_page_loads(cluster: Cluster) -> None:
    node = cluster.broker.http_address
    for path in (
        "/",
        "/topics",
        "/topics/t",
        "/topics/t/c",
        "/nodes",
        f"/nodes/{node}",
        "/counter",
        "/lookup",
    ):
        assert b"<title>nsqadmin" in await cluster.ask(path)


async def test_its_counts_are_those_of_the_broker(cluster: Cluster) -> None:
    topic = await cluster.ask("/api/topics/t")
    assert [topic["message_count"], topic["depth"]] == [5, 0]
    channel = await cluster.ask("/api/topics/t/c")
    names = ("message_count", "depth", "in_flight_count", "deferred_count", "client_count")
    assert [channel[name] for name in names] == [5, 2, 2, 1, 1]
    (node,) = (await cluster.ask("/api/nodes"))["nodes"]
    assert f"{node['broadcast_address']}:{node['http_port']}" == cluster.broker.http_address
    assert node["topics"] == [{"topic": "t", "tombstoned": False}]
    detail = await cluster.ask(f"/api/nodes/{cluster.broker.http_address}")
    assert [detail["total_messages"], detail["total_clients"]] == [5, 1]
    ((_, counted),) = (await cluster.ask("/api/counter"))["stats"].items()
    assert counted["message_count"] == 5


async def test_its_buttons_work(cluster: Cluster) -> None:
    channel = cluster.broker.ledger.topics["t"].channels["c"]
    for action in ("pause", "unpause"):
        await cluster.ask("/api/topics/t/c", "POST", action=action)
        assert channel.paused is (action == "pause")
    await cluster.ask("/api/topics/t/c", "POST", action="empty")
    assert not channel.queued
    await cluster.ask("/api/topics", "POST", topic="u", channel="d")
    await cluster.until("/api/topics", "topics", ["t", "u"])
    client = await RawClient.connect(cluster.broker.tcp_address)
    client.send(mpub("u", b"1"))
    await client.frames_until(b"OK", 1)
    await client.close()
    await cluster.until("/api/topics/u", "message_count", 1)
    assert list(cluster.broker.ledger.topics["u"].channels) == ["d"]
    await cluster.ask(f"/api/nodes/{cluster.broker.http_address}", "DELETE", topic="t")
    assert "t" not in cluster.broker.ledger.topics
    await cluster.ask("/api/topics/u/d", "DELETE")
    assert not cluster.broker.ledger.topics["u"].channels
    await cluster.ask("/api/topics/u", "DELETE")
    assert not cluster.broker.ledger.topics
