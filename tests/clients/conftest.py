"""The engines that clients of other people run on: the embedded broker, and a real nsqd as control."""

import asyncio
import contextlib
import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.limits import Limits
from tests.clients.scenarios import BROKERS_MSG_TIMEOUT_MS, CHANNEL, CLIENTS, INSTALLED, SCENARIOS
from tests.integration.conftest import Server, nsq_programs
from tests.waiting import PATIENCE_S, until_blocking

__all__ = ["nsq_programs"]


@dataclass(frozen=True, slots=True)
class Engine:
    """A broker, asked over HTTP."""

    tcp_address: str
    http_address: str

    def post(self, path: str, body: bytes = b"") -> None:
        """Ask for something that must be granted."""
        status, said = self._ask("POST", path, body)
        assert status == http.client.OK, (path, said)

    def make_channel(self, topic: str) -> None:
        """Create a topic and the channel in it."""
        self.post(f"/topic/create?topic={topic}")
        self.post(f"/channel/create?topic={topic}&channel={CHANNEL}")

    def channels(self, topic: str) -> dict[str, dict[str, Any]]:
        """Return the statistics of a topic's channels, by their names."""
        _, said = self._ask("GET", f"/stats?format=json&topic={topic}")
        (found,) = json.loads(said)["topics"]
        return {channel["channel_name"]: channel for channel in found["channels"]}

    def channel(self, topic: str, channel: str = CHANNEL) -> dict[str, Any]:
        """Return the statistics of a channel."""
        return self.channels(topic)[channel]

    def until_channels(self, topic: str, count: int) -> list[str]:
        """Return the names of a topic's channels once there are so many."""
        found = until_blocking(lambda: self.channels(topic), lambda channels: len(channels) == count)
        return list(found)

    def until(self, topic: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the channel's statistics once they say so."""
        return until_blocking(lambda: self.channel(topic), condition)

    def settled(self, topic: str, *, messages: int) -> dict[str, Any]:
        """Return the channel's statistics once it had so many messages and holds none."""
        return self.until(
            topic,
            lambda stats: (
                stats["message_count"] == messages
                and not stats["depth"] + stats["in_flight_count"] + stats["deferred_count"]
            ),
        )

    def _ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        asking = http.client.HTTPConnection(self.http_address, timeout=PATIENCE_S)
        try:
            asking.request(method, path, body)
            answer = asking.getresponse()
            return answer.status, answer.read()
        finally:
            asking.close()


@contextlib.contextmanager
def _embedded() -> Iterator[Engine]:
    """Run the embedded broker in a thread, as it runs beside a worker."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    broker = DevBroker(0, 0, limits=Limits(msg_timeout_s=BROKERS_MSG_TIMEOUT_MS / 1000))
    try:
        asyncio.run_coroutine_threadsafe(broker.start(), loop).result(PATIENCE_S)
        yield Engine(broker.tcp_address, broker.http_address)
        asyncio.run_coroutine_threadsafe(broker.stop(), loop).result(PATIENCE_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def _nsqd(programs: Path, folder: Path) -> Iterator[Engine]:
    server = Server(
        programs / "nsqd", folder, f"-data-path={folder}", f"-msg-timeout={BROKERS_MSG_TIMEOUT_MS}ms"
    )
    server.start()
    try:
        yield Engine(server.tcp_address, server.http_address)
    finally:
        server.stop()


def _prepare(engine: Engine) -> Engine:
    """Make all topics and channels of the scenarios, and wait until their timers run."""
    for client in CLIENTS:
        for scenario in SCENARIOS:
            engine.make_channel(client.topic(scenario))
    # A real nsqd looks for new channels every 5 s; the timers of those above run once this one's does.
    engine.make_channel("newest")
    engine.post("/pub?topic=newest&defer=1", b"x")
    engine.until("newest", lambda stats: stats["depth"] == 1)
    return engine


@pytest.fixture(scope="module")
def embedded() -> Iterator[Engine]:
    """The embedded broker; its thread ends with the module, since virtual time waits for unknown threads."""
    with _embedded() as engine:
        yield _prepare(engine)


@pytest.fixture(scope="module")
def nsqd(nsq_programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A real nsqd."""
    with _nsqd(nsq_programs, tmp_path_factory.mktemp("nsqd")) as engine:
        yield _prepare(engine)


@pytest.fixture(scope="module", params=["embedded", pytest.param("nsqd", marks=pytest.mark.nsqd)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """A broker, which both kinds of are started once."""
    found: Engine = request.getfixturevalue(request.param)
    return found


def require(installed: Path) -> None:
    """Skip the test if scripts/install-clients did not install this. In CI that is a failure."""
    if installed.exists():
        return
    missing = f"{installed.relative_to(INSTALLED.parent)} is not there: run scripts/install-clients"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
