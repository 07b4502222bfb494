"""Tail: it shows what comes, takes nothing from anybody, and never is a topic's first channel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from nsqkit import ConnectionLostError, Settings, SettingsError
from nsqkit.devbroker import DevBroker
from nsqkit.nsq import nodes
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.message import Message
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops import tail as module
from nsqkit.ops.tail import Tail, tail
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.reading import take, topics
from tests.waiting import PATIENCE_S, until

NOBODY = "127.0.0.1:1"


@pytest.fixture
async def publishers() -> AsyncIterator[PublisherPool]:
    publishers = PublisherPool(ConnectionOptions())
    yield publishers
    await publishers.close()


def told(*brokers: DevBroker, **options: Any) -> Settings:
    nsqd = tuple(each.tcp_address for each in brokers)
    http = tuple(each.http_address for each in brokers)
    return Settings(**{"nsqd": nsqd, "nsqd_http": http, "connect_timeout_s": 1.0, **options})


@asynccontextmanager
async def tailing(settings: Settings) -> AsyncIterator[asyncio.Queue[Message]]:
    """Follow the topic ``orders``, and give what is shown."""
    shown: asyncio.Queue[Message] = asyncio.Queue()

    def show(message: Message) -> bool:
        shown.put_nowait(message)
        return True

    running = asyncio.create_task(Tail("orders", settings).run(show))
    try:
        yield shown
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def channels(broker: DevBroker) -> list[str]:
    known = await topics(broker.http_address)
    return [each["channel_name"] for each in known.get("orders", {"channels": []})["channels"]]


async def followed(*brokers: DevBroker) -> None:
    """Wait until every nsqd has one channel more than the durable one."""
    for broker in brokers:

        async def is_followed(broker: DevBroker = broker) -> bool:
            return len(await channels(broker)) == 2

        await until(is_followed)


async def test_what_comes_is_shown_and_the_durable_channel_has_it_as_well(
    broker: DevBroker, publishers: PublisherPool
) -> None:
    address = broker.tcp_address
    await publishers.ensure_channel(address, "orders", "work")
    await publishers.publish(address, "orders", b"before")
    async with tailing(told(broker)) as shown, asyncio.timeout(PATIENCE_S):
        await followed(broker)
        await publishers.publish(address, "orders", b"after")
        message = await shown.get()
        assert (message.body, message.address, message.topic) == (b"after", address, "orders")
    assert await take(address, "orders", 2, "work") == [b"before", b"after"]

    async def is_gone() -> bool:
        return await channels(broker) == ["work"]

    await until(is_gone)


async def test_all_nsqd_are_followed(broker: DevBroker, publishers: PublisherPool) -> None:
    other = DevBroker(tcp_port=0, http_port=0)
    await other.start()
    try:
        for each in (broker, other):
            await publishers.ensure_channel(each.tcp_address, "orders", "work")
        async with tailing(told(broker, other)) as shown, asyncio.timeout(PATIENCE_S):
            await followed(broker, other)
            for each in (broker, other):
                await publishers.publish(each.tcp_address, "orders", b"x")
            found = {(await shown.get()).address, (await shown.get()).address}
            assert found == {broker.tcp_address, other.tcp_address}
    finally:
        await other.stop()


async def test_it_ends_when_enough_was_shown(broker: DevBroker, publishers: PublisherPool) -> None:
    await publishers.ensure_channel(broker.tcp_address, "orders", "work")
    shown: list[Message] = []

    def show(message: Message) -> bool:
        shown.append(message)
        return len(shown) < 2

    running = asyncio.create_task(Tail("orders", told(broker)).run(show))
    await followed(broker)
    for _ in range(5):
        await publishers.publish(broker.tcp_address, "orders", b"x")
    async with asyncio.timeout(PATIENCE_S):
        await running
    assert len(shown) == 2


class TestRefused:
    """What would take messages away, or cannot be."""

    async def test_a_topic_without_a_durable_channel_keeps_its_backlog(
        self, broker: DevBroker, publishers: PublisherPool
    ) -> None:
        await publishers.publish(broker.tcp_address, "orders", b"waits")
        with pytest.raises(
            SettingsError, match=r"'orders' has no durable channel.*start a worker of the topic first"
        ):
            await Tail("orders", told(broker)).run(lambda _: True)
        assert await channels(broker) == []
        assert await take(broker.tcp_address, "orders", 1) == [b"waits"]

    async def test_an_ephemeral_channel_is_not_a_durable_one(self, broker: DevBroker) -> None:
        connection = Connection(broker.tcp_address, ConnectionOptions())
        await connection.open()
        await connection.subscribe("orders", "other#ephemeral")
        with pytest.raises(SettingsError, match="no durable channel"):
            await Tail("orders", told(broker)).run(lambda _: True)
        connection.close()

    async def test_a_topic_that_is_not_there_is_not_made(
        self, broker: DevBroker, publishers: PublisherPool
    ) -> None:
        await publishers.ensure_channel(broker.tcp_address, "orders", "work")
        with pytest.raises(SettingsError, match="no topic 'order'; did you mean 'orders'"):
            await Tail("order", told(broker)).run(lambda _: True)
        assert set(await topics(broker.http_address)) == {"orders"}

    async def test_an_nsqd_that_cannot_be_asked(self) -> None:
        with pytest.raises(ConnectionLostError, match="--nsqd-http"):
            await Tail("orders", Settings(nsqd=(NOBODY,))).run(lambda _: True)

    async def test_nsqlookupd_that_do_not_answer(self) -> None:
        with pytest.raises(ConnectionLostError, match="nsqlookupd"):
            await Tail("orders", Settings(lookupd=(NOBODY,))).run(lambda _: True)

    async def test_a_topic_that_nsqlookupd_does_not_know(self) -> None:
        async with FakeHttp((404, {"message": "TOPIC_NOT_FOUND"})) as http:
            with pytest.raises(SettingsError, match="no nsqd that nsqlookupd knows has a topic 'orders'"):
                await Tail("orders", Settings(lookupd=(http.address,))).run(lambda _: True)

    async def test_an_nsqd_whose_statistics_are_something_else(self) -> None:
        async with FakeHttp((200, {"topics": [{"topic_name": "orders"}]})) as http:
            with pytest.raises(ConnectionLostError, match="no statistics of nsqd"):
                await Tail("orders", Settings(nsqd=(NOBODY,), nsqd_http=(http.address,))).run(lambda _: True)

    @pytest.mark.parametrize(
        ("topic", "settings", "said"),
        [
            pytest.param("a b", Settings(nsqd=(NOBODY,)), "topic name 'a b'", id="a bad name"),
            pytest.param("orders", Settings(), "give --nsqd", id="no nsqd at all"),
        ],
    )
    def test_wrong_use(self, topic: str, settings: Settings, said: str) -> None:
        with pytest.raises(SettingsError, match=said):
            Tail(topic, settings)


async def test_an_nsqd_that_comes_back_without_the_channel_is_left_alone_until_it_has_it(
    broker: DevBroker, publishers: PublisherPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedded broker forgets; to subscribe at once would take what its worker has not seen."""
    monkeypatch.setattr(module, "_LOOK_AGAIN_S", 0.01)
    await publishers.ensure_channel(broker.tcp_address, "orders", "work")
    tcp, http = (int(each.rpartition(":")[2]) for each in (broker.tcp_address, broker.http_address))
    async with tailing(told(broker)) as shown, asyncio.timeout(PATIENCE_S):
        await followed(broker)
        await broker.stop()
        anew = DevBroker(tcp_port=tcp, http_port=http)
        await anew.start()
        try:
            own = PublisherPool(ConnectionOptions())
            await own.publish(anew.tcp_address, "orders", b"waits")
            for _ in range(20):
                assert await channels(anew) == []
            await own.ensure_channel(anew.tcp_address, "orders", "work")
            await followed(anew)
            await own.publish(anew.tcp_address, "orders", b"again")
            assert (await shown.get()).body == b"again"
            assert await take(anew.tcp_address, "orders", 2, "work") == [b"waits", b"again"]
            await own.close()
        finally:
            await anew.stop()


async def test_an_nsqd_that_nsqlookupd_names_later_is_followed_too(
    broker: DevBroker, publishers: PublisherPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = DevBroker(tcp_port=0, http_port=0)
    await other.start()
    asked = 0

    async def nodes_of(topic: str, settings: Settings) -> Any:
        nonlocal asked
        asked += 1
        return await nodes.nodes_of(topic, told(broker) if asked == 1 else told(broker, other))

    monkeypatch.setattr(module, "nodes_of", nodes_of)
    try:
        for each in (broker, other):
            await publishers.ensure_channel(each.tcp_address, "orders", "work")
        async with tailing(told(broker, lookupd_poll_s=0.1)), asyncio.timeout(PATIENCE_S):
            await followed(broker, other)
    finally:
        await other.stop()


def test_a_signal_ends_it(threaded_broker: DevBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = told(threaded_broker)

    async def make_channel() -> None:
        publishers = PublisherPool(ConnectionOptions())
        await publishers.ensure_channel(threaded_broker.tcp_address, "orders", "work")
        await publishers.close()

    def stop_event(_: object) -> asyncio.Event:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_soon(stop.set)
        return stop

    asyncio.run(make_channel())
    monkeypatch.setattr(module, "stop_event", stop_event)
    tail("orders", settings, lambda _: True)
