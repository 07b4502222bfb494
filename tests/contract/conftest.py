"""The engines that a rule of delivery holds on: the embedded broker, and a real nsqd."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nsqkit import Settings, Worker
from nsqkit.devbroker import DevBroker
from nsqkit.devbroker.limits import Limits
from nsqkit.handler.handler import AnyHandler
from nsqkit.nsq import (
    ConnectionOptions,
    Consumer,
    ConsumerOptions,
    Endpoints,
    Message,
    NsqdHttp,
    ensure_channel,
)
from nsqkit.nsq.message import one_by_one
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.names import subscribed_topics
from tests.integration.conftest import limited_nsqd, nsq_programs, nsqd, nsqlookupd, quick_nsqd, start_nsqd
from tests.waiting import PATIENCE_S, until

__all__ = ["limited_nsqd", "nsq_programs", "nsqd", "nsqlookupd", "quick_nsqd", "start_nsqd"]

TOPIC = "contract"
CHANNELS = ("work", "other")
BRIEF_S = 2.0


class Quiet:
    """A log that nobody reads."""

    def info(self, event: str, /, **fields: object) -> None:
        pass

    warning = error = info


class Engine:
    """One running engine.

    Attributes:
        tcp_address: ``host:port`` of its TCP port.
    """

    def __init__(self, tcp_address: str, http_address: str, lookupd: tuple[str, ...] = ()) -> None:
        self.tcp_address = tcp_address
        self._http = NsqdHttp(http_address)
        self._http_address = http_address
        self._lookupd = lookupd
        self._workers: list[Worker] = []
        self._publishers = PublisherPool(ConnectionOptions(msg_timeout_s=1.0))  # which every engine grants

    def settings(self, **more: Any) -> Settings:
        """Return settings by which a worker finds the engine: by its address, or through nsqlookupd."""
        found: dict[str, Any] = {"nsqd": (self.tcp_address,)}
        if self._lookupd:
            found = {"lookupd": self._lookupd, "lookupd_poll_s": 0.2}
        return Settings(**{**found, "nsqd_http": (self._http_address,), "admin_port": 0, **more})

    @asynccontextmanager
    async def worker(self, *handlers: type[AnyHandler[Any]], **settings: Any) -> AsyncIterator[Worker]:
        """Run handlers, every channel made and subscribed; drain at the end."""
        worker = Worker(handlers, settings=self.settings(**settings))
        self._workers.append(worker)
        for spec in worker.specs:
            for topic in spec.topics:
                await self._publishers.ensure_channel(self.tcp_address, topic, spec.channel)
        await worker.start()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await worker.wait_subscribed(self.tcp_address)
                await worker.wait_ready()
            yield worker
        finally:
            await worker.stop()

    async def publish(self, topic: str, *bodies: bytes) -> None:
        """Publish bodies as they are, at once."""
        await self._publishers.publish_many(self.tcp_address, topic, bodies)

    async def channel(self, topic: str, channel: str) -> dict[str, Any]:
        """Return nsqd's own statistics of a channel."""
        stats: Any = await self._http.stats(topic)
        (found,) = [
            each
            for known in stats["topics"] or ()
            if known["topic_name"] == topic
            for each in known["channels"]
            if each["channel_name"] == channel
        ]
        assert isinstance(found, dict)
        return found

    async def until(
        self, topic: str, channel: str, condition: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Return the channel's statistics once they say so."""
        return await until(lambda: self.channel(topic, channel), condition)

    async def handled(self, topic: str, channel: str, count: int) -> dict[str, Any]:
        """Return the channel's statistics once it had so many messages and holds none any more.

        nsqd counts a message nowhere while it moves it from the deferred ones to its queue, so the workers
        that ran here must have finished as many too.
        """

        def are_handled(stats: dict[str, Any]) -> bool:
            if stats["message_count"] != count or _held(stats):
                return False
            return not self._workers or sum(_finished(each, channel) for each in self._workers) >= count

        return await self.until(topic, channel, are_handled)

    async def read(self, topic: str, channel: str, count: int) -> list[Message]:
        """Take messages off a channel, as a program of somebody else does."""
        messages: asyncio.Queue[Message] = asyncio.Queue()

        def take(message: Message) -> None:
            assert message.finish()
            messages.put_nowait(message)

        async with self._consumer(topic, channel, take), asyncio.timeout(PATIENCE_S):
            return [await messages.get() for _ in range(count)]

    async def spend(self, topic: str, channel: str, attempts: int) -> None:
        """Deliver the only message so many times, with no outcome that a worker would know of."""
        done = asyncio.Event()

        def give_back(message: Message) -> None:
            if message.attempts == attempts:
                consumer.pause()
                done.set()
            assert message.requeue(0.0 if message.attempts < attempts else 0.2)

        async with self._consumer(topic, channel, give_back) as consumer, asyncio.timeout(PATIENCE_S):
            await done.wait()

    @asynccontextmanager
    async def _consumer(
        self, topic: str, channel: str, on_message: Callable[[Message], None]
    ) -> AsyncIterator[Consumer]:
        consumer = Consumer(
            ConsumerOptions(
                topics=(topic,),
                channel=channel,
                connection=ConnectionOptions(msg_timeout_s=1.0),
                max_in_flight=100,
            ),
            Endpoints((self.tcp_address,)),
            on_messages=one_by_one(on_message),
            on_settle_failure=pytest.fail,
            log=Quiet(),
        )
        consumer.start()
        try:
            yield consumer
        finally:
            await consumer.close(PATIENCE_S)

    async def close(self) -> None:
        await self._publishers.close()


def _held(stats: dict[str, Any]) -> int:
    return int(stats["depth"] + stats["in_flight_count"] + stats["deferred_count"])


def _finished(worker: Worker, channel: str) -> int:
    """Count the deliveries that a worker ended with FIN."""
    return sum(
        int(sample.value)
        for family in worker.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "nsqkit_messages_processed_total"
        and sample.labels["channel"] == channel
        and sample.labels["outcome"] not in ("requeue", "lease_lost")
    )


ENGINES = ("devbroker", pytest.param("nsqd", marks=pytest.mark.nsqd))
WITH_LOOKUPD = (*ENGINES, pytest.param("nsqlookupd", marks=pytest.mark.nsqd))


@pytest.fixture(params=ENGINES)
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """An empty engine; ``nsqlookupd`` is a real nsqd that workers find through a real nsqlookupd."""
    async with _running(request) as engine:
        yield engine


@pytest.fixture(params=ENGINES)
async def brief_engine(request: pytest.FixtureRequest) -> AsyncIterator[Engine]:
    """An empty engine that lets no message be held for longer than ``BRIEF_S``."""
    async with _running(request, max_msg_timeout_s=BRIEF_S) as engine:
        yield engine


@asynccontextmanager
async def _running(
    request: pytest.FixtureRequest, *, max_msg_timeout_s: float = 900.0
) -> AsyncIterator[Engine]:
    if request.param == "devbroker":
        limits = Limits(msg_timeout_s=1.0, max_msg_timeout_s=max_msg_timeout_s)
        broker = DevBroker(tcp_port=0, http_port=0, limits=limits)
        await broker.start()
        await _make_channels(broker.tcp_address)
        engine = Engine(broker.tcp_address, broker.http_address)
        yield engine
        await engine.close()
        await broker.stop()
        return
    lookupd: tuple[str, ...] = ()
    if request.param == "nsqlookupd":
        lookupd = (request.getfixturevalue("nsqlookupd").http_address,)
    server = request.getfixturevalue("start_nsqd")(f"-max-msg-timeout={max_msg_timeout_s}s")
    await _make_channels(server.tcp_address)
    # nsqd looks after requeued messages at once where it knew the channel at its start, else 5 s later.
    server.stop()
    server.start()
    engine = Engine(server.tcp_address, server.http_address, lookupd)
    yield engine
    await engine.close()


async def _make_channels(address: str) -> None:
    for channel in CHANNELS:
        for topic in subscribed_topics(TOPIC, channel, with_retry=True):
            await ensure_channel(address, topic, channel, ConnectionOptions(msg_timeout_s=1.0))
