"""One handler's intake from real nsqd, found by address and by a real nsqlookupd."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit.nsq import (
    ConnectionOptions,
    Consumer,
    ConsumerOptions,
    Endpoints,
    Lookup,
    Message,
    NsqdHttp,
    NsqdPublisher,
)
from nsqkit.nsq.http import fetch
from nsqkit.nsq.message import one_by_one
from tests.integration.conftest import Server, StartNsqd
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd
OPTIONS = ConnectionOptions()


class Quiet:
    """A log that nobody reads."""

    def info(self, event: str, /, **fields: object) -> None:
        pass

    warning = error = info


class Intake:
    """Makes a consumer of ``orders``/``stock``, and closes it at the end of the test."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self._made: list[Consumer] = []

    def __call__(
        self, *addresses: str, lookup: Lookup | None = None, max_in_flight: int = 10, with_retry: bool = False
    ) -> Consumer:
        consumer = Consumer(
            ConsumerOptions(
                topics=("orders", "orders.stock.retry") if with_retry else ("orders",),
                channel="stock",
                connection=OPTIONS,
                max_in_flight=max_in_flight,
            ),
            Endpoints(addresses, lookup, poll_s=0.2),
            on_messages=one_by_one(self.messages.put_nowait),
            on_settle_failure=pytest.fail,
            log=Quiet(),
        )
        self._made.append(consumer)
        return consumer

    async def next(self) -> Message:
        async with asyncio.timeout(PATIENCE_S):
            return await self.messages.get()

    async def close(self) -> None:
        for consumer in self._made:
            await consumer.close(PATIENCE_S)


@pytest.fixture
async def intake() -> AsyncIterator[Intake]:
    made = Intake()
    yield made
    await made.close()
    assert [task for task in asyncio.all_tasks() if "nsqkit" in repr(task.get_coro())] == []


async def publish(nsqd: Server, *bodies: bytes, topic: str = "orders") -> None:
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    await publisher.publish_many(topic, bodies)
    await publisher.close()


async def ready(consumer: Consumer, connections: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await consumer.wait_ready()
    await until(lambda: len(consumer.connections) >= connections)


async def channel_of(nsqd: Server) -> dict[str, Any]:
    stats: Any = await NsqdHttp(nsqd.http_address).stats("orders")
    found: dict[str, Any] = stats["topics"][0]["channels"][0]
    return found


async def rdy_of(nsqd: Server) -> int:
    stats = json.loads(
        await fetch(nsqd.http_address, "/stats", timeout_s=PATIENCE_S, format="json", topic="orders")
    )
    return int(stats["topics"][0]["channels"][0]["clients"][0]["ready_count"])


async def test_every_message_of_every_nsqd_arrives_once(start_nsqd: StartNsqd, intake: Intake) -> None:
    nodes = [start_nsqd() for _ in range(3)]
    consumer = intake(*(node.tcp_address for node in nodes), max_in_flight=7)
    consumer.start()
    await ready(consumer, 3)
    for node in nodes:
        await publish(node, *(b"%d" % n for n in range(300)))
    counts: Counter[tuple[str, bytes]] = Counter()
    for _ in range(900):
        message = await intake.next()
        counts[message.address, message.body] += 1
        assert message.finish()
    assert len(counts) == 900
    await consumer.stop_intake()
    await consumer.close(PATIENCE_S)
    for node in nodes:
        channel = await channel_of(node)
        assert channel["depth"] == channel["in_flight_count"] == channel["client_count"] == 0
        assert (channel["message_count"], channel["timeout_count"]) == (300, 0)


async def test_a_topic_born_after_the_start_is_found_through_nsqlookupd(
    nsqlookupd: Server, nsqd: Server, intake: Intake
) -> None:
    consumer = intake(lookup=Lookup([nsqlookupd.http_address, "127.0.0.1:1"]), with_retry=True)
    consumer.start()
    await ready(consumer, 0)
    await publish(nsqd, b"first")
    message = await intake.next()
    assert (message.body, message.address) == (b"first", nsqd.tcp_address)
    assert message.finish()
    await ready(consumer, 2)
    await publish(nsqd, b"again", topic="orders.stock.retry")
    assert (await intake.next()).finish()


async def test_a_second_nsqd_is_found_through_nsqlookupd_later(
    nsqlookupd: Server, start_nsqd: StartNsqd, intake: Intake
) -> None:
    first = start_nsqd()
    await publish(first, b"1")
    consumer = intake(lookup=Lookup([nsqlookupd.http_address]))
    consumer.start()
    assert (await intake.next()).finish()
    second = start_nsqd()
    await publish(second, b"2")
    message = await intake.next()
    assert (message.address, message.finish()) == (second.tcp_address, True)


async def test_a_restarted_nsqd_is_connected_to_again_and_loses_nothing(nsqd: Server, intake: Intake) -> None:
    consumer = intake(nsqd.tcp_address)
    consumer.start()
    await ready(consumer, 1)
    await publish(nsqd, b"1")
    held = await intake.next()
    nsqd.stop()
    await until(lambda: not consumer.ready)
    assert not held.finish()
    assert consumer.problems
    nsqd.start()
    again = await intake.next()
    assert again.body == b"1"
    assert again.finish()
    assert consumer.subscribed_to(nsqd.tcp_address)


async def test_a_pause_stops_the_intake_and_resume_restores_it_with_a_message_in_flight(
    nsqd: Server, intake: Intake
) -> None:
    consumer = intake(nsqd.tcp_address, max_in_flight=1)
    consumer.start()
    await ready(consumer, 1)
    await publish(nsqd, b"1", b"2")
    held = await intake.next()
    consumer.pause()
    consumer.resume()
    assert held.finish()
    assert (await intake.next()).finish()


async def test_a_message_is_not_held_back_while_others_are_held(nsqd: Server, intake: Intake) -> None:
    """Nor is RDY more than one above what is held: what nsqd could join it sends at once."""
    consumer = intake(nsqd.tcp_address, max_in_flight=100)
    consumer.start()
    await ready(consumer, 1)
    held = []
    for number in range(5):
        await publish(nsqd, b"%d" % number)
        held.append(await intake.next())
    await until(lambda: rdy_of(nsqd), lambda rdy: rdy == 6)
    for message in held:
        assert message.finish()
    await until(lambda: rdy_of(nsqd), lambda rdy: rdy == 1)


async def test_a_backlog_gets_all_of_max_in_flight(nsqd: Server, intake: Intake) -> None:
    consumer = intake(nsqd.tcp_address, max_in_flight=50)
    consumer.start()
    await ready(consumer, 1)
    await publish(nsqd, *(b"%d" % number for number in range(200)))
    held = [await intake.next() for _ in range(50)]
    assert (await channel_of(nsqd))["in_flight_count"] == 50
    for _ in range(150):
        assert held.pop(0).finish()
        held.append(await intake.next())
    assert intake.messages.empty()
    for message in held:
        assert message.finish()


async def test_a_trial_brings_one_message_while_others_are_held(nsqd: Server, intake: Intake) -> None:
    consumer = intake(nsqd.tcp_address, max_in_flight=3)
    consumer.start()
    await ready(consumer, 1)
    await publish(nsqd, *(b"%d" % number for number in range(20)))
    held = [await intake.next() for _ in range(3)]
    consumer.pause()
    consumer.trial()
    held.append(await intake.next())
    consumer.trial()
    held.append(await intake.next())
    assert intake.messages.empty()
    consumer.resume()
    for message in held:
        assert message.finish()
    for _ in range(15):
        assert (await intake.next()).finish()


async def test_a_trial_brings_one_message_from_several_nsqd(start_nsqd: StartNsqd, intake: Intake) -> None:
    nodes = [start_nsqd() for _ in range(4)]
    consumer = intake(*(node.tcp_address for node in nodes), with_retry=True)
    consumer.pause()
    consumer.start()
    await ready(consumer, 8)
    for node in nodes:
        await publish(node, b"1", b"2")
        await publish(node, b"3", topic="orders.stock.retry")
    seen = set()
    for _ in range(8):
        consumer.trial()
        message = await intake.next()
        seen.add((message.address, message.topic))
        await until(lambda: in_flight(nodes), lambda count: count == 1)
        assert intake.messages.empty()
        assert message.finish()
    assert len(seen) == 8, "each connection has its turn"
    consumer.resume()
    for _ in range(4):
        assert (await intake.next()).finish()


async def test_one_in_flight_is_shared_by_three_nsqd(start_nsqd: StartNsqd, intake: Intake) -> None:
    nodes = [start_nsqd() for _ in range(3)]
    for node in nodes:
        await publish(node, *(b"%d" % number for number in range(5)))
    consumer = intake(*(node.tcp_address for node in nodes), max_in_flight=1)
    consumer.start()
    counts: Counter[str] = Counter()
    for _ in range(15):
        message = await intake.next()
        counts[message.address] += 1
        assert await in_flight(nodes) == 1
        assert intake.messages.empty()
        assert message.finish()
    assert set(counts.values()) == {5}


async def test_a_backlog_on_one_of_six_nsqd_gets_all_of_max_in_flight(
    start_nsqd: StartNsqd, intake: Intake
) -> None:
    nodes = [start_nsqd() for _ in range(6)]
    consumer = intake(*(node.tcp_address for node in nodes), max_in_flight=6)
    consumer.start()
    await ready(consumer, 6)
    await publish(nodes[0], *(b"%d" % number for number in range(6)))
    held = [await intake.next() for _ in range(6)]
    await publish(nodes[1], b"6")
    assert held[0].finish()
    late = await intake.next()
    assert late.address == nodes[1].tcp_address, "it is probed"
    for message in (*held[1:], late):
        assert message.finish()


async def in_flight(nodes: list[Server]) -> int:
    stats: list[Any] = [await NsqdHttp(node.http_address).stats() for node in nodes]
    topics = [topic for each in stats for topic in each["topics"]]
    return sum(channel["in_flight_count"] for topic in topics for channel in topic["channels"])


async def test_with_one_in_flight_both_topics_get_their_turn(nsqd: Server, intake: Intake) -> None:
    consumer = intake(nsqd.tcp_address, max_in_flight=1, with_retry=True)
    consumer.start()
    await ready(consumer, 2)
    await publish(nsqd, b"1", topic="orders.stock.retry")
    await publish(nsqd, b"2")
    topics = set()
    for _ in range(2):
        message = await intake.next()
        topics.add(message.topic)
        message.finish()
    assert topics == {"orders", "orders.stock.retry"}
