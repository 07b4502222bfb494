"""Relay: with an admin port, a relay tells Prometheus what waits, and a supervisor whether it works."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

from nsqkit import Settings
from nsqkit.ops.relay import served
from nsqkit.sql import Database
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.relay import Relay
from tests.ports import free_port
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import until


class Nowhere:
    """A publisher that is not asked."""

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        raise NotImplementedError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = Settings(app={"team_url": f"sqlite:///{tmp_path}/team.sqlite"})
    Database("team").upgrade(found)
    return found


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[OpenDatabase]:
    async with OpenDatabase.opened("team", settings) as found:
        yield found


async def get(port: int, path: str) -> HTTPResponse:
    return await AsyncHTTPClient().fetch(f"http://127.0.0.1:{port}{path}", raise_error=False)


async def test_a_relay_serves_metrics_and_health(settings: Settings, database: OpenDatabase) -> None:
    log, port, stop = RecordingLog(), free_port(), asyncio.Event()
    relay = Relay(database, Nowhere(), lease_s=30.0, log=log)
    async with served(relay, database, settings, port, log):
        assert [each[1] for each in log.lines] == ["admin_listening"]
        ready = await get(port, "/readyz")
        assert (ready.code, ready.body) == (503, b"no sweep has ended yet\n")
        running = asyncio.create_task(relay.run(stop))
        await until(lambda: not relay.problems())
        assert [(await get(port, path)).code for path in ("/healthz", "/readyz", "/handlers")] == [
            200,
            200,
            404,
        ]

        async def has_measured() -> bool:
            return (
                b'nsqkit_outbox_oldest_age_seconds{database="team"} 0' in (await get(port, "/metrics")).body
            )

        await until(has_measured)
        stop.set()
        await running
    with pytest.raises(ConnectionRefusedError):
        await get(port, "/healthz")


async def test_without_a_port_it_serves_nothing(settings: Settings, database: OpenDatabase) -> None:
    log = RecordingLog()
    async with served(Relay(database, Nowhere(), lease_s=30.0, log=log), database, settings, 0, log):
        assert log.lines == []
