"""pynsq's own connection class, not nsqkit's, talks to the embedded broker."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import nsq
from nsq import protocol
from nsqkit.devbroker import DevBroker
from tests.unit.devbroker.raw_client import channel_stats, http
from tests.waiting import PATIENCE_S


@pytest.fixture
async def broker() -> AsyncIterator[DevBroker]:
    broker = DevBroker(0, 0)
    await broker.start()
    yield broker
    await broker.stop()


class Client:
    """A pynsq connection whose events are queued for the test."""

    def __init__(self, address: str, **options: Any) -> None:
        host, _, port = address.rpartition(":")
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.responses: asyncio.Queue[bytes] = asyncio.Queue()
        self.errors: asyncio.Queue[Any] = asyncio.Queue()
        self.identified: dict[str, Any] = {}
        self._ready = asyncio.Event()
        self._conn = nsq.AsyncConn(host, int(port), **options)
        self._conn.on("identify_response", lambda conn, data: self.identified.update(data))
        self._conn.on("ready", lambda conn: self._ready.set())
        self._conn.on("message", lambda conn, message: self.messages.put_nowait(message))
        self._conn.on("response", lambda conn, data: self.responses.put_nowait(data))
        self._conn.on("error", lambda conn, error: self.errors.put_nowait(error))

    async def open(self) -> "Client":
        self._conn.connect()  # type: ignore[attr-defined]  # the stubs have what nsqkit uses
        await asyncio.wait_for(self._ready.wait(), PATIENCE_S)
        self.responses.get_nowait()  # the answer to IDENTIFY, which is a response too
        return self

    def send(self, command: bytes) -> None:
        self._conn.send(command)

    async def ask(self, command: bytes) -> bytes:
        self.send(command)
        return await asyncio.wait_for(self.responses.get(), PATIENCE_S)

    async def message(self) -> Any:
        return await asyncio.wait_for(self.messages.get(), PATIENCE_S)

    def close(self) -> None:
        self._conn.close()


async def test_the_handshake_is_understood(broker: DevBroker) -> None:
    client = await Client(broker.tcp_address, msg_timeout=5, heartbeat_interval=5).open()
    assert client.identified["max_rdy_count"] == 2500
    assert client.identified["msg_timeout"] == 5000
    client.close()


async def test_compression_is_refused_and_pynsq_goes_on_without(broker: DevBroker) -> None:
    client = await Client(broker.tcp_address, deflate=True).open()
    assert client.identified["deflate"] is False
    assert await client.ask(protocol.pub("t", b"x")) == b"OK"
    client.close()


async def test_publish_consume_requeue_touch_defer_and_finish(broker: DevBroker) -> None:
    client = await Client(broker.tcp_address).open()
    assert await client.ask(protocol.subscribe("t", "c")) == b"OK"
    client.send(protocol.ready(1))
    assert await client.ask(protocol.pub("t", b"one")) == b"OK"
    first = await client.message()
    assert (first.body, first.attempts) == (b"one", 1)
    client.send(protocol.touch(first.id))
    client.send(protocol.requeue(first.id, 10))
    again = await client.message()
    assert (again.id, again.attempts) == (first.id, 2)
    client.send(protocol.finish(again.id))
    many = protocol.mpub("t", [b"two", b"three"])  # type: ignore[attr-defined]  # as above
    assert await client.ask(many) == b"OK"
    assert await client.ask(protocol.dpub("t", 10, b"four")) == b"OK"
    seen = []
    for _ in range(3):
        message = await client.message()
        seen.append(message.body)
        client.send(protocol.finish(message.id))
    assert await client.ask(protocol.pub("barrier", b"x")) == b"OK"
    found = await channel_stats(broker.http_address, "t", "c")
    assert sorted(seen) == [b"four", b"three", b"two"]
    assert (found["message_count"], found["requeue_count"], found["timeout_count"]) == (4, 1, 0)
    assert found["depth"] == found["in_flight_count"] == found["deferred_count"] == 0
    client.close()


async def test_settling_twice_is_an_error_that_leaves_the_connection_open(broker: DevBroker) -> None:
    client = await Client(broker.tcp_address).open()
    await client.ask(protocol.subscribe("t", "c"))
    client.send(protocol.ready(1))
    await http(broker.http_address, "POST", "/pub?topic=t", b"x")
    message = await client.message()
    client.send(protocol.finish(message.id) * 2)
    error = await asyncio.wait_for(client.errors.get(), PATIENCE_S)
    assert "E_FIN_FAILED" in str(error)
    assert await client.ask(protocol.pub("t", b"y")) == b"OK"
    client.close()
