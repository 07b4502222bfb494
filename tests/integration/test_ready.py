"""Ready: whatever is published after a worker is ready reaches every one of its handlers."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from nsqkit import Context, Handler, Outcome, Requeue, Settings, Worker, event
from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.devbroker.lookupd_registry import Registry
from nsqkit.nsq import ConnectionOptions, Lookup, NsqdHttp, NsqdPublisher
from nsqkit.nsq.http import fetch
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from nsqkit.policy.retry import Exponential
from tests.integration.conftest import Server
from tests.ports import free_port
from tests.unit.reading import topics
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd
CHANNELS = ("stock", "mail", "audit")
ROUNDS = 20
Nsq = tuple[DevLookupd, DevBroker] | tuple[Server, Server]


class Lines:
    """The lines that are logged."""

    def __init__(self, lines: list[MutableMapping[str, Any]]) -> None:
        self._lines = lines
        self._seen: Counter[str] = Counter()

    async def next(self, event: str) -> MutableMapping[str, Any]:
        """Wait for the next line of this event."""
        self._seen[event] += 1
        found = await until(lambda: self.of(event), lambda lines: len(lines) >= self._seen[event])
        return found[self._seen[event] - 1]

    def of(self, event: str) -> list[MutableMapping[str, Any]]:
        return [line for line in self._lines if line["event"] == event]


@pytest.fixture
def lines() -> Iterator[Lines]:
    with structlog.testing.capture_logs() as captured:
        yield Lines(captured)


class Polls:
    """Counts how often an nsqlookupd was asked for its topics."""

    def __init__(self) -> None:
        self.count = 0

    async def more(self) -> None:
        """Wait until whatever follows from the present state has been done."""
        enough = self.count + 2
        await until(lambda: self.count >= enough)


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Polls:
    polls, topics = Polls(), NsqlookupdHttp.topics

    async def counted(self: NsqlookupdHttp) -> frozenset[str]:
        found = await topics(self)
        polls.count += 1
        return found

    monkeypatch.setattr(NsqlookupdHttp, "topics", counted)
    return polls


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


def at(nsqd: DevBroker | Server) -> dict[str, Any]:
    """Return the settings that name an nsqd."""
    return {"nsqd": (nsqd.tcp_address,), "nsqd_http": (nsqd.http_address,)}


def gauge(worker: Worker, name: str, handled: Handled, **labels: str) -> list[float | None]:
    """Return a gauge of every handler."""
    return [
        worker.metrics.registry.get_sample_value(
            f"nsqkit_{name}",
            {"topic": handled.topic, "channel": each.spec.channel, "handler": each.spec.name, **labels},
        )
        for each in handled.handlers
    ]


async def stop(server: DevLookupd | Server) -> None:
    if isinstance(server, Server):
        await asyncio.to_thread(server.stop)
    else:
        await server.stop()


async def start(server: DevLookupd | Server) -> None:
    """Start it again, on the same ports."""
    if isinstance(server, Server):
        await asyncio.to_thread(server.start)
    else:
        server.registry = Registry()
        await server.start()


@asynccontextmanager
async def running(handled: Handled, *, wait: bool = True, **settings: Any) -> AsyncIterator[Worker]:
    """Run a worker, by default from when it is ready."""
    options = {"admin_port": 0, "lookupd_poll_s": 0.2, **settings}
    worker = Worker(handled.handlers, settings=Settings(**options))
    await worker.start()
    try:
        if wait:
            async with asyncio.timeout(PATIENCE_S):
                await worker.wait_ready()
        yield worker
    finally:
        await worker.stop()


async def nodes(lookupd: str, count: int = 1) -> None:
    """Wait until so many nsqd are registered."""
    await until(Lookup([lookupd]).nodes, lambda found: len(found.nodes) == count)


@asynccontextmanager
async def registering(
    topic: str, nsqd: DevBroker | Server, lookupd: DevLookupd | Server
) -> AsyncIterator[None]:
    """Have a topic registered at an nsqlookupd for an nsqd, whether that has it or not."""
    host, tcp_port = nsqd.tcp_address.split(":")
    http_port = nsqd.http_address.split(":")[1]
    node = {"broadcast_address": host, "hostname": host, "version": "1.3.0"}
    body = json.dumps({**node, "tcp_port": int(tcp_port), "http_port": int(http_port)}).encode()
    _, writer = await asyncio.open_connection(*lookupd.tcp_address.split(":"))
    identify = b"  V1IDENTIFY\n" + len(body).to_bytes(4, "big") + body
    writer.write(identify + f"REGISTER {topic}\n".encode())
    lookup = Lookup([lookupd.http_address])
    await until(lambda: lookup.producers(topic), lambda found: found.nodes)
    try:
        yield
    finally:
        writer.close()
        await writer.wait_closed()


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
    embedded = DevLookupd(free_port(), free_port())
    await embedded.start()
    broker = DevBroker(0, 0, lookupd_tcp_addresses=[embedded.tcp_address])
    await broker.start()
    await nodes(embedded.http_address)
    yield embedded, broker
    await broker.stop()
    await embedded.stop()


class TestLookupd:
    """Workers that find nsqd through nsqlookupd."""

    async def test_a_topic_that_appears_gives_every_message_to_every_handler(self, nsq: Nsq) -> None:
        lookupd, nsqd = nsq
        for number in range(ROUNDS):
            handled = Handled(f"topic{number}")
            async with running(handled, lookupd=(lookupd.http_address,)) as worker:
                assert worker.problems() == ()
                await publish(nsqd.tcp_address, handled.topic)
                await handled.all_got(10)

    async def test_an_nsqlookupd_that_has_restarted_knows_the_channels_again(self, nsq: Nsq) -> None:
        lookupd, nsqd = nsq
        handled = Handled("ready.orders")
        async with running(handled, lookupd=(lookupd.http_address,), lookupd_poll_s=60.0) as worker:
            await stop(lookupd)
            reason = f"nsqlookupd {lookupd.http_address}: the channels are not registered: "
            await until(lambda: reason in str(worker.problems()))
            await start(lookupd)
            await worker.wait_ready()
            await publish(nsqd.tcp_address, handled.topic)
            await handled.all_got(10)

    async def test_a_topic_that_an_operator_deletes_stays_deleted_until_a_producer_publishes(
        self, nsq: Nsq, polls: Polls
    ) -> None:
        lookupd, nsqd = nsq
        handled = Handled("ready.orders")
        async with running(handled, lookupd=(lookupd.http_address,)):
            await publish(nsqd.tcp_address, handled.topic)
            await handled.all_got(10)
            for server in (lookupd, nsqd):  # in nsqadmin's order
                await fetch(server.http_address, "/topic/delete", method="POST", topic="ready.orders")
            await polls.more()
            await stop(lookupd)
            await start(lookupd)
            await polls.more()
            assert "ready.orders" not in await NsqlookupdHttp(lookupd.http_address).topics()
            assert "ready.orders" not in await topics(nsqd.http_address)
            await NsqdHttp(nsqd.http_address).create_topic("other")  # then nsqd sees that it is disconnected
            await publish(nsqd.tcp_address, handled.topic)
            await handled.all_got(20)

    async def test_an_nsqd_that_registers_a_topic_while_it_deletes_it_does_not_get_it_back(
        self, nsq: Nsq, lines: Lines, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Here another connection registers it, since nsqd's own race is rare."""
        monkeypatch.setattr("nsqkit.nsq.keepers._RECONNECT", Exponential(base_s=0.01, max_s=0.02))
        lookupd, nsqd = nsq
        handled = Handled("ready.orders")
        async with running(handled, lookupd=(lookupd.http_address,), lookupd_poll_s=60.0) as worker:
            await publish(nsqd.tcp_address, handled.topic)
            await handled.all_got(10)
            await fetch(lookupd.http_address, "/topic/delete", method="POST", topic=handled.topic)
            async with registering(handled.topic, nsqd, lookupd):
                await fetch(nsqd.http_address, "/topic/delete", method="POST", topic=handled.topic)
                for _ in handled.handlers:
                    assert (await lines.next("topic_absent"))["nsqd"] == nsqd.tcp_address
                await worker.wait_ready()
                assert [each.has_producer for each in worker.handler_states()] == [False] * 3
                assert handled.topic not in await topics(nsqd.http_address)
                await publish(nsqd.tcp_address, handled.topic)
                await handled.all_got(20)

    async def test_a_topic_without_a_producer_is_ready_and_similar_topics_are_named(
        self, nsq: Nsq, lines: Lines
    ) -> None:
        lookupd, nsqd = nsq
        await NsqdHttp(nsqd.http_address).create_topic("ready.orders")
        await NsqlookupdHttp(lookupd.http_address).create_channel("orderz", "stock")
        lookup = Lookup([lookupd.http_address])
        await until(lambda: lookup.producers("ready.orders"), lambda found: found.nodes)
        handled = Handled("ready.ordres")
        async with running(handled, lookupd=(lookupd.http_address,)) as worker:
            warning = await lines.next("topic_without_producer")
            assert (warning["topic"], warning["similar"]) == ("ready.ordres", ["ready.orders"])
            assert worker.problems() == ()
            assert [each.has_producer for each in worker.handler_states()] == [False] * 3
            assert gauge(worker, "topic_without_producer", handled) == [1, 1, 1]
            await publish(nsqd.tcp_address, handled.topic)
            assert (await lines.next("topic_has_producer"))["topic"] == "ready.ordres"
            assert [each.has_producer for each in worker.handler_states()] == [True] * 3
            assert gauge(worker, "topic_without_producer", handled) == [0, 0, 0]
        assert len(lines.of("topic_without_producer")) == 1


class TestNsqd:
    """Workers whose settings name the nsqd."""

    async def test_messages_that_wait_in_a_topic_without_channels_reach_every_handler(self, nsq: Nsq) -> None:
        _, nsqd = nsq
        for number in range(ROUNDS):
            handled = Handled(f"topic{number}")
            if number % 2:
                await publish(nsqd.tcp_address, handled.topic)
            async with running(handled, **at(nsqd), wait=False):
                if not number % 2:
                    await publish(nsqd.tcp_address, handled.topic)
                await handled.all_got(10)

    async def test_a_topic_that_an_operator_has_paused_stays_paused(self, nsq: Nsq) -> None:
        _, nsqd = nsq
        http = NsqdHttp(nsqd.http_address)
        await publish(nsqd.tcp_address, "ready.orders")
        await http.pause_topic("ready.orders")
        handled = Handled("ready.orders")
        async with running(handled, **at(nsqd)):
            assert (await topics(nsqd.http_address))["ready.orders"]["paused"]
            assert handled.counts == {}
            await http.unpause_topic("ready.orders")
            await handled.all_got(10)

    async def test_an_http_port_that_does_not_answer_is_reported_and_does_not_keep_it_from_ready(
        self, nsq: Nsq, lines: Lines
    ) -> None:
        _, nsqd = nsq
        handled = Handled("ready.orders")
        async with running(handled, nsqd=(nsqd.tcp_address,), nsqd_http=("127.0.0.1:1",)):
            assert (await lines.next("channels_not_created"))["topic"] == "ready.orders"
            await publish(nsqd.tcp_address, handled.topic)
            await handled.all_got(10)

    async def test_what_is_paused_in_nsqd_is_reported(self, nsq: Nsq, lines: Lines) -> None:
        _, nsqd = nsq
        http = NsqdHttp(nsqd.http_address)
        handled = Handled("ready.orders")
        async with running(handled, **at(nsqd)) as worker:

            def shown() -> list[float | None]:
                return gauge(worker, "channel_paused", handled, nsqd=nsqd.tcp_address)

            await http.pause_channel("ready.orders", "stock")
            line = await lines.next("paused_in_nsqd")
            assert (line["nsqd"], line["topic"], line["channel"]) == (
                nsqd.http_address,
                "ready.orders",
                "stock",
            )
            await until(shown, lambda found: found == [1, 0, 0])
            assert [each.paused_in_nsqd for each in worker.handler_states()] == [
                (f"{nsqd.http_address} ready.orders/stock",),
                (),
                (),
            ]
            await http.unpause_channel("ready.orders", "stock")
            await lines.next("unpaused_in_nsqd")
            await http.pause_topic("ready.orders")
            line = await lines.next("paused_in_nsqd")
            assert (line["topic"], line["channel"]) == ("ready.orders", None)
            await until(shown, lambda found: found == [1, 1, 1])
            assert worker.problems() == (), "a pause is no fault of the worker"

    async def test_the_messages_in_nsqd_are_shown_by_channel(self, nsq: Nsq) -> None:
        """Of five messages two are in flight and three wait; all are deferred after a requeue."""
        _, nsqd = nsq
        may_end = asyncio.Event()

        class Held(Handler[Happened], topic="ready.orders", channel="stock", max_in_flight=2):
            async def handle(self, event: Happened, ctx: Context) -> Outcome:
                await may_end.wait()
                return Requeue(delay_s=60.0)

        worker = Worker([Held], settings=Settings(admin_port=0, lookupd_poll_s=0.2, **at(nsqd)))
        labels = {"topic": "ready.orders", "channel": "stock", "handler": "Held", "nsqd": nsqd.tcp_address}

        def shown(name: str, **more: str) -> float | None:
            return worker.metrics.registry.get_sample_value(f"nsqkit_{name}", labels | more)

        def channel() -> list[float | None]:
            return [shown(f"channel_{name}") for name in ("in_flight", "depth", "deferred")]

        def states() -> list[float | None]:
            return [shown("connection_state", state=each) for each in ("subscribed", "disconnected")]

        assert (shown("rdy"), channel()) == (None, [None] * 3), "nothing is known yet"
        await worker.start()
        assert states() == [0, 1]
        await worker.wait_ready()
        assert states() == [1, 0]
        assert (shown("rdy") or 0) >= 1
        await publish(nsqd.tcp_address, "ready.orders", 5)
        await until(channel, lambda found: found == [2, 3, 0])
        may_end.set()
        await until(channel, lambda found: found == [0, 0, 5])
        await worker.stop()
