"""Extensions of a publisher: they see each message before it leaves, and learn what became of it."""

import asyncio
import json

import pytest

from nsqkit import BlockingPublisher, Extension, Publish, Publisher, PublishError
from nsqkit.devbroker import DevBroker
from tests.unit.publishing.sent import NOBODY, Sent, told
from tests.unit.reading import take, topics


class Watch(Extension):
    """Notes what leaves, adds an attribute to it, and keeps what it is asked to keep."""

    def __init__(self, *keeps: str) -> None:
        self.seen: list[tuple[object, str | None, bytes | None]] = []
        self.ends: list[BaseException | None] = []
        self._keeps = keeps

    def on_publish(self, publish: Publish) -> bool:
        self.seen.append((publish.event, publish.topic, publish.body))
        publish.attributes["correlationid"] = "c-1"
        publish.when_done.append(self.ends.append)
        assert publish.ctx is None
        return publish.topic not in self._keeps


async def test_each_way_to_publish_is_seen_and_confirmed(broker: DevBroker) -> None:
    watch = Watch()
    async with Publisher(broker.tcp_address, settings=told(), middleware=[watch]) as publisher:
        await publisher.publish(Sent(1))
        await publisher.publish_many([Sent(2), Sent(3)])
        await publisher.publish_soon(Sent(4))
        await publisher.publish_raw("sent", b"raw")
    assert watch.seen == [*((Sent(n), "sent", None) for n in (1, 2, 3, 4)), (None, "sent", b"raw")]
    assert watch.ends == [None] * 5
    *events, raw = await take(broker.tcp_address, "sent", 5)
    assert [json.loads(body)["correlationid"] for body in events] == ["c-1"] * 4
    assert raw == b"raw"


async def test_what_it_keeps_does_not_leave(broker: DevBroker) -> None:
    watch = Watch("sent", "raw")
    async with Publisher(broker.tcp_address, settings=told(), middleware=[watch]) as publisher:
        await publisher.publish(Sent(1))
        await publisher.publish_many([Sent(2)])
        await publisher.publish_soon(Sent(3))
        await publisher.publish_raw("raw", b"{}")
    assert len(watch.seen) == 4
    assert watch.ends == []
    assert await topics(broker.http_address) == {}


async def test_it_learns_why_a_message_was_not_confirmed() -> None:
    watch = Watch()
    async with Publisher(NOBODY, settings=told(), middleware=[watch]) as publisher:
        with pytest.raises(PublishError):
            await publisher.publish(Sent(1))
        with pytest.raises(PublishError):
            await publisher.publish_soon(Sent(2))
    assert [type(error) for error in watch.ends] == [PublishError, PublishError]


async def test_one_that_raises_refuses_the_message(broker: DevBroker) -> None:
    class Refuse(Extension):
        def on_publish(self, publish: Publish) -> None:
            raise PermissionError("not from here")

    async with Publisher(broker.tcp_address, settings=told(), middleware=[Refuse()]) as publisher:
        with pytest.raises(PermissionError):
            await publisher.publish(Sent(1))
    assert await topics(broker.http_address) == {}


def test_a_blocking_publisher_has_them_too(threaded_broker: DevBroker) -> None:
    watch = Watch()
    with BlockingPublisher(threaded_broker.tcp_address, settings=told(), middleware=[watch]) as publisher:
        publisher.publish(Sent(1))
    assert watch.ends == [None]


async def test_without_any_a_message_costs_no_call_of_a_hook(broker: DevBroker) -> None:
    class Idle(Extension):
        pass

    async with Publisher(broker.tcp_address, settings=told(), middleware=[Idle()]) as publisher:
        assert publisher._preparer.hooks == ()
        await asyncio.gather(*(publisher.publish(Sent(n)) for n in range(3)))
