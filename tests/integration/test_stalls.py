"""Stalls and health on a real nsqd and the embedded broker: what is one, and what never is."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import pytest
import structlog

from nsqkit import Context, Handler, Settings, Worker, event
from nsqkit.devbroker import DevBroker
from nsqkit.nsq import ConnectionOptions, NsqdHttp, NsqdPublisher
from nsqkit.nsq.keepers import Keepers
from nsqkit.policy import hang, stall
from tests.integration.conftest import Server
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

NOBODY = "127.0.0.1:1"
Nsqd = DevBroker | Server
Lines = list[MutableMapping[str, Any]]


@event("stalls.happened", version=1, topic="stalls")
@dataclass
class Happened:
    n: int = 0


class Handled(Handler[Happened], channel="stock", max_in_flight=1):
    leave = asyncio.Event()

    async def handle(self, event: Happened, ctx: Context) -> None:
        await self.leave.wait()


class Deaf:
    """A proxy to an nsqd that swallows each RDY: nsqd delivers nothing, and the worker cannot know why."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._tasks: list[asyncio.Task[None]] = []
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self._tasks += (
            asyncio.create_task(_forward(reader, far_writer, lambda data: re.sub(rb"RDY \d+\n", b"", data))),
            asyncio.create_task(_forward(far_reader, writer, lambda data: data)),
        )


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passed: Callable[[bytes], bytes]
) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(passed(data))
    finally:
        writer.close()


@pytest.fixture(params=[pytest.param("real", marks=pytest.mark.nsqd), "embedded"])
async def nsqd(request: pytest.FixtureRequest) -> AsyncIterator[Nsqd]:
    if request.param == "real":
        start_nsqd = request.getfixturevalue("start_nsqd")
        yield await asyncio.to_thread(start_nsqd)
        return
    broker = DevBroker(0, 0)
    await broker.start()
    yield broker
    await broker.stop()


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as captured:
        yield captured


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "STALLED_S", 0.2)
    monkeypatch.setattr(Handled, "leave", asyncio.Event())


@asynccontextmanager
async def running(*nsqd: str, http: tuple[str, ...], **settings: Any) -> AsyncIterator[Worker]:
    options = {"admin_port": 0, "lookupd_poll_s": 0.1, "grace_s": 0.0, "connect_timeout_s": 1.0, **settings}
    worker = Worker([Handled], settings=Settings(nsqd=nsqd, nsqd_http=http, **options))
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def publish(nsqd: Nsqd, count: int) -> None:
    publisher = NsqdPublisher(nsqd.tcp_address, ConnectionOptions())
    await publisher.publish_many("stalls", [b"{}"] * count)
    await publisher.close()


async def polls(worker: Worker, count: int) -> None:
    """Wait until the nsqd were polled so often."""
    counts = 0
    on_poll = worker._watch._pauses._on_poll

    def counted(found: Any) -> None:
        nonlocal counts
        counts += 1
        on_poll(found)

    worker._watch._pauses._on_poll = counted
    await until(lambda: counts >= count)


def events(lines: Lines, name: str) -> Lines:
    return [line for line in lines if line["event"] == name]


def count(worker: Worker) -> float | None:
    labels = {"topic": "stalls", "channel": "stock", "handler": "Handled"}
    return worker.metrics.registry.get_sample_value("nsqkit_stalls_total", labels)


class TestStalls:
    """Messages that wait although there is room for them."""

    async def test_an_nsqd_that_delivers_nothing_is_reported_until_another_consumer_gets_the_messages(
        self, nsqd: Nsqd, lines: Lines
    ) -> None:
        http = (nsqd.http_address,)
        async with Deaf(nsqd.tcp_address) as deaf, running(deaf.address, http=http) as worker:
            await worker.wait_ready()
            await publish(nsqd, 3)
            place = f"{nsqd.http_address} stalls/stock"
            await until(lambda: worker.handler_states()[0].stalled_in_nsqd, lambda found: found == (place,))
            (line,) = events(lines, "delivery_stalled")
            assert (line["nsqd"], line["depth"], line["handler"]) == (nsqd.http_address, 3, "Handled")
            assert (count(worker), worker.problems(), worker.faults()) == (1, (), ())
            Handled.leave.set()
            async with running(nsqd.tcp_address, http=http):
                await until(lambda: events(lines, "stall_over"))
            assert worker.handler_states()[0].stalled_in_nsqd == ()

    async def test_a_handler_that_is_busy_is_no_stall(self, nsqd: Nsqd, lines: Lines) -> None:
        async with running(nsqd.tcp_address, http=(nsqd.http_address,)) as worker:
            await worker.wait_ready()
            await publish(nsqd, 3)
            await until(lambda: worker.held == 1)
            await polls(worker, 10)
            assert (count(worker), events(lines, "delivery_stalled")) == (0, [])

    async def test_a_paused_channel_is_no_stall(self, nsqd: Nsqd, lines: Lines) -> None:
        async with running(nsqd.tcp_address, http=(nsqd.http_address,)) as worker:
            await worker.wait_ready()
            await NsqdHttp(nsqd.http_address).pause_channel("stalls", "stock")
            await publish(nsqd, 3)
            await until(lambda: events(lines, "paused_in_nsqd"))
            await polls(worker, 10)
            assert (count(worker), events(lines, "delivery_stalled")) == (0, [])

    async def test_a_paused_handler_is_no_stall(self, nsqd: Nsqd, lines: Lines) -> None:
        async with running(nsqd.tcp_address, http=(nsqd.http_address,)) as worker:
            await worker.wait_ready()
            worker.pause_handler("Handled", None)
            await publish(nsqd, 3)
            await polls(worker, 10)
            assert (count(worker), events(lines, "delivery_stalled")) == (0, [])


class TestLive:
    """What asks for a restart, and what does not."""

    async def test_an_nsqd_that_is_down_never_does(
        self, nsqd: Nsqd, monkeypatch: pytest.MonkeyPatch, lines: Lines
    ) -> None:
        """Not even if every silence counts, and whether nsqlookupd, nsqd or both are away."""
        monkeypatch.setattr(hang, "HUNG_S", 0.0)
        async with running(nsqd.tcp_address, NOBODY, http=(nsqd.http_address, NOBODY)) as worker:
            await worker.wait_subscribed(nsqd.tcp_address)
            if isinstance(nsqd, Server):
                await asyncio.to_thread(nsqd.stop)
            else:
                await nsqd.stop()
            await until(lambda: len(worker._watch._hangs[0].http_addresses) == 2)
            await polls(worker, 5)
            assert (worker.live(), worker.faults()) == (True, ())
        async with running(http=(), lookupd=(NOBODY,)) as worker:
            await polls(worker, 5)
            assert worker.live()

    async def test_a_subscription_that_hangs_though_its_nsqd_answers_does(
        self, nsqd: Nsqd, monkeypatch: pytest.MonkeyPatch, lines: Lines
    ) -> None:
        async def attempt(*_: Any) -> float | None:
            await asyncio.Event().wait()
            return None

        monkeypatch.setattr(Keepers, "_attempt", attempt)
        monkeypatch.setattr(hang, "HUNG_S", 0.3)
        async with running(nsqd.tcp_address, http=(nsqd.http_address,)) as worker:
            assert worker.live()
            async with asyncio.timeout(PATIENCE_S):
                await until(lambda: not worker.live())
            assert worker.faults()[0] == (
                f"the subscription to stalls at nsqd {nsqd.tcp_address} hangs, although the nsqd answers"
            )
            assert events(lines, "subscription_hangs")[0]["nsqd"] == nsqd.tcp_address
