"""Ready: whatever is published after a worker is ready reaches every one of its handlers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import Context, Handler, Settings, Worker, event
from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.nsq import ConnectionOptions, Lookup, NsqdHttp, NsqdPublisher
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from tests.integration.conftest import Server, StartNsqd
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd
CHANNELS = ("stock", "mail", "audit")
ROUNDS = 20
Nsq = tuple[DevLookupd, DevBroker] | tuple[Server, Server]


@event("ready.happened", version=1, topic="readied")
@dataclass
class Happened:
    n: int = 0


class Handled:
    """Three handlers of one topic, and the messages that each of them got."""

    def __init__(self, topic: str, **options: Any) -> None:
        self.counts: Counter[str] = Counter()
        self.topic = topic
        counts = self.counts

        class Team(Handler[Happened], topic=topic, abstract=True, **options):
            async def handle(self, event: Happened, ctx: Context) -> None:
                counts[self.spec.channel] += 1

        class Stock(Team, channel="stock"):
            pass

        class Mail(Team, channel="mail"):
            pass

        class Audit(Team, channel="audit"):
            pass

        self.handlers: list[type[Handler[Happened]]] = [Stock, Mail, Audit]

    async def all_got(self, count: int) -> None:
        """Wait until every handler has got so many messages."""
        await until(lambda: dict(self.counts), lambda counts: counts == dict.fromkeys(CHANNELS, count))


@asynccontextmanager
async def running(handled: Handled, *, wait: bool = True, **settings: Any) -> AsyncIterator[Worker]:
    """Run a worker, by default from when it is ready."""
    options = {"admin_port": 0, "lookupd_poll_s": 0.2, **settings}
    worker = Worker(handled.handlers, settings=Settings(**options))
    await worker.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            if wait:
                await worker.wait_ready()
        yield worker
    finally:
        await worker.stop()


async def nodes(lookupd: str, count: int = 1) -> None:
    """Wait until so many nsqd are registered."""
    await until(Lookup([lookupd]).nodes, lambda found: len(found.nodes) == count)


async def publish(address: str, topic: str, count: int = 10) -> None:
    publisher = NsqdPublisher(address, ConnectionOptions())
    await publisher.publish_many(topic, [b"{}"] * count)
    await publisher.close()


@pytest.fixture(params=["real", "embedded"])
async def nsq(request: pytest.FixtureRequest) -> AsyncIterator[Nsq]:
    """An nsqlookupd, and an nsqd that is registered there."""
    if request.param == "real":
        lookupd = request.getfixturevalue("nsqlookupd")
        nsqd = await asyncio.to_thread(request.getfixturevalue, "nsqd")
        await nodes(lookupd.http_address)
        yield lookupd, nsqd
        return
    embedded = DevLookupd(0, 0)
    await embedded.start()
    broker = DevBroker(0, 0, lookupd_tcp_addresses=[embedded.tcp_address])
    await broker.start()
    await nodes(embedded.http_address)
    yield embedded, broker
    await broker.stop()
    await embedded.stop()


class TestLookupd:
    """Workers that find nsqd through nsqlookupd."""

    async def test_a_topic_that_appears_gives_every_message_to_every_handler(
        self, nsq: Nsq
    ) -> None:
        lookupd, nsqd = nsq
        for number in range(ROUNDS):
            handled = Handled(f"topic{number}")
            async with running(handled, lookupd=(lookupd.http_address,)) as worker:
                assert worker.problems() == ()
                await publish(nsqd.tcp_address, handled.topic)
                await handled.all_got(10)
