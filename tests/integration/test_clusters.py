"""Clusters that change, and clocks that differ: real nsqd and nsqlookupd."""

import asyncio
import json
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from nsqkit import Context, Handler, Settings, Worker, event
from nsqkit.nsq import ConnectionOptions, Lookup, NsqdPublisher
from nsqkit.nsq.discovery import Discovery
from nsqkit.nsq.http import fetch
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from nsqkit.policy.address import split_address
from nsqkit.runtime.clock import Clock
from tests.integration.conftest import Server, StartNsqd
from tests.unit.reading import topics
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd
AHEAD_S = 600.0


@event("clusters.happened", version=1, topic="clustered")
@dataclass
class Happened:
    n: int = 0


class Handled:
    """Two handlers of one topic, and the messages that each of them got."""

    def __init__(self, **options: Any) -> None:
        self.counts: Counter[str] = Counter()
        counts = self.counts

        class Team(Handler[Happened], topic="clustered", abstract=True, **options):
            async def handle(self, event: Happened, ctx: Context) -> None:
                counts[self.spec.channel] += 1

        class Stock(Team, channel="stock"):
            pass

        class Mail(Team, channel="mail"):
            pass

        self.handlers: list[type[Handler[Happened]]] = [Stock, Mail]

    async def all_got(self, count: int) -> None:
        """Wait until both handlers have got so many messages."""
        await until(lambda: dict(self.counts), lambda counts: counts == {"stock": count, "mail": count})


@asynccontextmanager
async def running(handled: Handled, **settings: Any) -> AsyncIterator[Worker]:
    worker = Worker(handled.handlers, settings=Settings(admin_port=0, **settings))
    await worker.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await worker.wait_ready()
        yield worker
    finally:
        await worker.stop()


async def publish(nsqd: Server, count: int = 10) -> None:
    publisher = NsqdPublisher(nsqd.tcp_address, ConnectionOptions())
    await publisher.publish_many("clustered", [b"{}"] * count)
    await publisher.close()


@asynccontextmanager
async def dead_nsqd(nsqlookupd: Server, host: str, port: int) -> AsyncIterator[None]:
    """Register an nsqd at an address at which nobody listens."""
    _, writer = await asyncio.open_connection(*split_address(nsqlookupd.tcp_address))
    producer = {"broadcast_address": host, "tcp_port": port, "http_port": port, "version": "1.3.0"}
    body = json.dumps(producer).encode()
    writer.write(b"  V1IDENTIFY\n" + struct.pack(">l", len(body)) + body + b"REGISTER clustered\n")
    yield
    writer.close()
    await writer.wait_closed()


class Polls:
    """Counts what consumers take in from nsqlookupd."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        take = Discovery._take

        def counted(discovery: Discovery, *args: Any) -> None:
            take(discovery, *args)
            self.count += 1

        monkeypatch.setattr(Discovery, "_take", counted)

    async def more(self, count: int) -> None:
        enough = self.count + count
        await until(lambda: self.count >= enough)


async def test_a_deleted_topic_stays_away_from_every_nsqd_until_a_producer_publishes(
    nsqlookupd: Server, start_nsqd: StartNsqd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of deletions is nsqadmin's."""
    polls = Polls(monkeypatch)
    nodes = [start_nsqd() for _ in range(3)]
    for node in nodes:
        await publish(node)
    lookup = Lookup([nsqlookupd.http_address])
    await until(partial(lookup.producers, "clustered"), lambda found: len(found.nodes) == len(nodes))
    handled = Handled()
    async with running(handled, lookupd=(nsqlookupd.http_address,), lookupd_poll_s=0.2):
        await handled.all_got(30)
        for server in (nsqlookupd, *nodes):
            await fetch(server.http_address, "/topic/delete", method="POST", topic="clustered")
            await polls.more(4)
        await polls.more(8)
        for node in nodes:
            assert "clustered" not in await topics(node.http_address)
        assert "clustered" not in await NsqlookupdHttp(nsqlookupd.http_address).topics()
        await publish(nodes[1])
        await handled.all_got(40)
        assert "clustered" not in await topics(nodes[0].http_address)


async def test_an_nsqd_that_returns_at_another_address_is_found_without_a_regular_poll(
    nsqlookupd: Server, start_nsqd: StartNsqd
) -> None:
    old = start_nsqd()
    await publish(old)
    lookup = Lookup([nsqlookupd.http_address])
    await until(partial(lookup.producers, "clustered"), lambda found: found.nodes)
    handled = Handled()
    async with running(handled, lookupd=(nsqlookupd.http_address,), lookupd_poll_s=3600.0):
        await handled.all_got(10)
        old.stop()
        await publish(start_nsqd())
        await handled.all_got(20)


async def test_an_nsqd_among_hundreds_of_dead_ones_is_consumed(
    nsqlookupd: Server, start_nsqd: StartNsqd
) -> None:
    await publish(start_nsqd())
    async with AsyncExitStack() as stack:
        for n in range(500):
            await stack.enter_async_context(dead_nsqd(nsqlookupd, f"127.1.0.{n % 250}", 1 + n // 250))
        lookup = Lookup([nsqlookupd.http_address])
        await until(partial(lookup.producers, "clustered"), lambda found: len(found.nodes) == 501)
        handled = Handled()
        settings = Settings(admin_port=0, lookupd=(nsqlookupd.http_address,), lookupd_poll_s=3600.0)
        worker = Worker(handled.handlers, settings=settings)
        await worker.start()
        try:
            await handled.all_got(10)
        finally:
            await worker.stop()


@pytest.mark.parametrize("ahead_s", [AHEAD_S, -AHEAD_S])
async def test_no_message_expires_by_a_skew_of_the_clocks(
    start_nsqd: StartNsqd, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    """The worker's clock is ten minutes off: all 20 messages are fresh."""
    nsqd = start_nsqd()
    await publish(nsqd, 20)

    def clock(**fields: Any) -> Clock:
        return Clock(now_ns=lambda: time.time_ns() + round(ahead_s * 1e9), **fields)

    monkeypatch.setattr("nsqkit.worker.watch.Clock", clock)
    handled = Handled(max_age_s=300.0)
    async with running(handled, nsqd=(nsqd.tcp_address,), nsqd_http=(nsqd.http_address,)) as worker:
        await handled.all_got(20)
        skew_s = worker.metrics.registry.get_sample_value(
            "nsqkit_clock_skew_seconds", {"nsqd": nsqd.tcp_address}
        )
        assert skew_s is not None
        assert abs(skew_s - ahead_s) < 300.0
