"""A clean restart, of the embedded broker and of a real nsqd: what can be seen after it must be the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nsqkit.devbroker import DevBroker
from tests.integration.conftest import StartNsqd
from tests.unit.devbroker.raw_client import RawClient, dpub, http, mpub, pub, stats

pytestmark = pytest.mark.nsqd

COUNTS = ("depth", "in_flight_count", "deferred_count", "message_count", "requeue_count", "timeout_count")
Restart = Callable[[], Awaitable[None]]


class Engine:
    """A broker that can be restarted."""

    def __init__(self, tcp_address: str, http_address: str, restart: Restart) -> None:
        self.tcp_address, self.http_address, self.restart = tcp_address, http_address, restart


@pytest.fixture
async def engines(tmp_path: Path, start_nsqd: StartNsqd) -> AsyncIterator[tuple[Engine, Engine]]:
    """The embedded broker and a real nsqd."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    broker = DevBroker(0, 0, data_path=folder)
    await broker.start()
    ports = tuple(int(each.rpartition(":")[2]) for each in (broker.tcp_address, broker.http_address))
    running = [broker]

    async def restart_embedded() -> None:
        await running.pop().stop()
        again = DevBroker(tcp_port=ports[0], http_port=ports[1], data_path=folder)
        running.append(again)
        await again.start()

    nsqd = await asyncio.to_thread(start_nsqd)

    async def restart_real() -> None:
        await asyncio.to_thread(nsqd.stop)
        await asyncio.to_thread(nsqd.start)

    yield (
        Engine(broker.tcp_address, broker.http_address, restart_embedded),
        Engine(nsqd.tcp_address, nsqd.http_address, restart_real),
    )
    for each in running:
        await each.stop()


async def _play(engine: Engine) -> Any:
    client = await RawClient.connect(engine.tcp_address)
    await client.subscribe("t", "c", ready=2)
    client.send(mpub("t", b"1", b"2", b"3"), dpub("t", 900_000, b"4"), pub("alone", b"5"))
    await client.frames_until(b"OK", 3)
    client.send(dpub("alone", 900_000, b"6"), b"SUB\n")
    await client.frames_to_the_end()
    await client.close()
    for path in (
        "/channel/create?topic=t&channel=e%23ephemeral",
        "/channel/create?topic=t&channel=paused",
        "/channel/pause?topic=t&channel=paused",
        "/topic/create?topic=gone%23ephemeral",
        "/topic/pause?topic=t",
        "/pub?topic=t",
    ):
        assert (await http(engine.http_address, "POST", path, b"7"))[0] == 200


async def _seen(engine: Engine) -> Any:
    answer = await stats(engine.http_address)
    return [
        (
            topic["topic_name"],
            topic["paused"],
            topic["depth"],
            topic["message_count"],
            sorted(
                (channel["channel_name"], channel["paused"], *(channel[name] for name in COUNTS))
                for channel in topic["channels"]
            ),
        )
        for topic in sorted(answer["topics"], key=lambda topic: str(topic["topic_name"]))
    ]


async def _read(engine: Engine, topic: str, count: int) -> Any:
    client = await RawClient.connect(engine.tcp_address)
    await client.subscribe(topic, "c", ready=count)
    found = sorted((message.body, message.attempts) for message in await client.messages(count))
    await client.close()
    return found


async def test_nothing_is_lost_and_all_is_due(engines: tuple[Engine, Engine]) -> None:
    async def scenario(engine: Engine) -> Any:
        await _play(engine)
        await engine.restart()
        after = await _seen(engine)
        await http(engine.http_address, "POST", "/topic/unpause?topic=t")
        return after, await _read(engine, "t", 5), await _read(engine, "alone", 2)

    ours, theirs = [await scenario(engine) for engine in engines]
    assert ours == theirs
