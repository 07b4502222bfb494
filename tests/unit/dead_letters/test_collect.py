"""Collect: every dead letter is in the store before nsqd forgets it, and it is there once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from nsqkit import LookupFailedError, Settings, SettingsError
from nsqkit.dead_letters import collect as module
from nsqkit.dead_letters import collector as collector_module
from nsqkit.dead_letters.backlog import Backlog, TopicBacklog
from nsqkit.dead_letters.collect import CollectionReport, collect
from nsqkit.dead_letters.collector import Collector
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.parse import CollectedLetter, parse_letter
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from nsqkit.errors import DeadLetterStoreError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.discovery import Source
from nsqkit.nsq.http import fetch
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.message import one_by_one
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.telemetry import logs
from tests.unit.dead_letters.letters import BODY, published
from tests.unit.nsq.recording_log import RecordingLog
from tests.unit.reading import take, topics
from tests.waiting import PATIENCE_S, until

NOBODY = "127.0.0.1:1"
DEAD = "orders.payments.dead"
ALL = Filters()


def told(broker: DevBroker, **options: Any) -> Settings:
    return Settings(nsqd=(broker.tcp_address,), nsqd_http=(broker.http_address,), **options)


@asynccontextmanager
async def collecting(broker: DevBroker, store: Store, **options: Any) -> AsyncIterator[Collector]:
    given: dict[str, Any] = {"log": logs.get_logger(), "look_s": 0.02} | options
    collector = Collector(told(broker), store, **given)
    collector.start()
    try:
        yield collector
    finally:
        await collector.stop()


async def bury(publishers: PublisherPool, broker: DevBroker, *bodies: bytes, topic: str = DEAD) -> None:
    await publishers.ensure_channel(broker.tcp_address, topic, "dead")
    await publishers.publish_many(broker.tcp_address, topic, bodies)


async def left(broker: DevBroker, topic: str = DEAD) -> int:
    (channel,) = (await topics(broker.http_address))[topic]["channels"]
    return int(channel["depth"] + channel["in_flight_count"] + channel["deferred_count"])


class Slow(Store):
    """A store whose disk waits until it is told to go on; then it fails, if it shall."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, make=True)
        self.loop = asyncio.get_running_loop()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None

    def add(self, letters: Sequence[CollectedLetter]) -> int:
        self.loop.call_soon_threadsafe(self.asked.set)
        asyncio.run_coroutine_threadsafe(self.go_on.wait(), self.loop).result(PATIENCE_S)
        if self.failure is not None:
            raise self.failure
        return super().add(letters)


async def test_records_and_whatever_else_is_there_are_stored_and_gone_from_nsqd(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    await bury(publishers, broker, published(), b"a body alone")
    async with collecting(broker, store) as collector, asyncio.timeout(PATIENCE_S):
        await collector.wait_idle()
        assert await left(broker) == 0
        assert (collector.stored, collector.known) == (2, 0)
    record, other = sorted((each.letter for each in store.find(ALL)), key=lambda each: not each.is_record)
    assert (record.body, record.handler, record.nsqd) == (BODY, "ChargePayment", broker.tcp_address)
    assert (other.body, other.topic, other.channel) == (b"a body alone", "orders", "payments")


async def test_what_cannot_be_read_is_stored_as_bytes_and_nothing_waits_for_it(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    bodies = [b'{"specversion": "1.0", "type": "\\ud800"}', b"\0", b"[" * 10_000, b"\xff", b"the last one"]
    await bury(publishers, broker, *bodies)
    async with collecting(broker, store) as collector, asyncio.timeout(PATIENCE_S):
        await collector.wait_idle()
        assert await left(broker) == 0
    assert sorted(each.letter.body for each in store.find(ALL)) == sorted(bodies)


async def test_a_letter_that_cannot_be_parsed_is_stored_as_bytes(
    broker: DevBroker, publishers: PublisherPool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(message: Any) -> CollectedLetter:
        if message.body == b"bad":
            raise RecursionError
        return parse_letter(message)

    monkeypatch.setattr("nsqkit.dead_letters.writer.parse_letter", parse)
    await bury(publishers, broker, b"good", b"bad", published())
    async with collecting(broker, store) as collector, asyncio.timeout(PATIENCE_S):
        await collector.wait_idle()
        assert (collector.stored, await left(broker)) == (3, 0)
    found = {each.letter.body: each.letter for each in store.find(ALL)}
    assert (found[b"bad"].topic, found[b"bad"].channel, found[b"bad"].is_record) == (
        "orders",
        "payments",
        False,
    )


async def test_topics_that_turn_up_later_are_read_as_well(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    async with collecting(broker, store) as collector, asyncio.timeout(PATIENCE_S):
        await collector.wait_idle()
        await bury(publishers, broker, b"x", topic="orders.notify.dead")
        await until(lambda: collector.stored)


async def test_a_topic_that_an_operator_deletes_stays_deleted(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    """Before it subscribes again it asks nsqd for the topic, however long it is until the next look."""
    log = RecordingLog()
    await bury(publishers, broker, b"x")
    async with (
        collecting(broker, store, log=log, look_s=3600.0) as collector,
        asyncio.timeout(PATIENCE_S),
    ):
        await collector.wait_idle()
        await fetch(broker.http_address, "/topic/delete", method="POST", topic=DEAD)
        await until(lambda: log.of("topic_absent"))
        assert DEAD not in await topics(broker.http_address)
        await bury(publishers, broker, b"y")
        await collector.wait_idle()
        assert collector.stored == 2


async def test_only_those_that_are_wanted(broker: DevBroker, publishers: PublisherPool, store: Store) -> None:
    await bury(publishers, broker, b"x")
    await bury(publishers, broker, b"y", topic="orders.notify.dead")
    wanted = frozenset({DEAD, "orders.nobody.dead"})
    async with collecting(broker, store, topics=wanted) as collector, asyncio.timeout(PATIENCE_S):
        await collector.wait_idle()
        assert collector.missing == {"orders.nobody.dead"}
    assert [each.letter.body for each in store.find(ALL)] == [b"x"]
    assert await left(broker, "orders.notify.dead") == 1
    assert "orders.nobody.dead" not in await topics(broker.http_address)


async def test_it_is_finished_only_once_it_is_stored(
    broker: DevBroker, publishers: PublisherPool, tmp_path: Path
) -> None:
    await bury(publishers, broker, b"x")
    with Slow(tmp_path / "slow.sqlite") as store:
        async with collecting(broker, store) as collector, asyncio.timeout(PATIENCE_S):
            await store.asked.wait()
            assert await left(broker) == 1
            store.go_on.set()
            await collector.wait_idle()
            assert await left(broker) == 0


async def test_what_comes_again_after_it_was_stored_is_stored_once_and_finished(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    """As after a kill between the commit and FIN."""
    await bury(publishers, broker, published())
    arrived: asyncio.Queue[Any] = asyncio.Queue()
    killed = Connection(broker.tcp_address, ConnectionOptions(), on_messages=one_by_one(arrived.put_nowait))
    await killed.open()
    await killed.subscribe(DEAD, "dead")
    killed.ready(1)
    async with asyncio.timeout(PATIENCE_S):
        message = await arrived.get()
        store.add([parse_letter(message)])
        killed.ready(0)
        message.requeue(0.0)
        await killed.half_close(PATIENCE_S)
        async with collecting(broker, store) as collector:
            await collector.wait_idle()
            assert (collector.stored, collector.known) == (0, 1)
    assert store.count(ALL) == 1


async def test_when_the_store_fails_it_ends_and_nsqd_has_everything_back(
    broker: DevBroker, publishers: PublisherPool, tmp_path: Path
) -> None:
    await bury(publishers, broker, b"x", b"y", b"z")
    with Slow(tmp_path / "slow.sqlite") as store:
        store.failure = DeadLetterStoreError(str(store.path), "disk full")
        store.go_on.set()
        collector = Collector(told(broker), store, log=logs.get_logger())
        collector.start()
        with pytest.raises(DeadLetterStoreError, match="disk full"):
            await collector.wait_failed()
        with pytest.raises(DeadLetterStoreError, match="disk full"):
            await collector.stop()
    assert sorted(await take(broker.tcp_address, DEAD, 3, "dead")) == [b"x", b"y", b"z"]


async def test_on_the_way_out_what_has_arrived_is_stored(
    broker: DevBroker, publishers: PublisherPool, tmp_path: Path
) -> None:
    await bury(publishers, broker, *(b"%d" % number for number in range(20)))
    with Slow(tmp_path / "slow.sqlite") as store:
        collector = Collector(told(broker), store, log=logs.get_logger())
        collector.start()
        async with asyncio.timeout(PATIENCE_S):
            await store.asked.wait()
            stopping = asyncio.create_task(collector.stop())
            store.go_on.set()
            await stopping
        assert store.count(ALL) + await left(broker) == 20
        (channel,) = (await topics(broker.http_address))[DEAD]["channels"]
        assert channel["in_flight_count"] == 0


async def test_a_topic_that_somebody_else_reads_is_left_to_them_if_it_shall_be(
    broker: DevBroker, publishers: PublisherPool, store: Store
) -> None:
    other = Connection(broker.tcp_address, ConnectionOptions())
    await other.open()
    await other.subscribe(DEAD, "dead")
    await bury(publishers, broker, b"x")
    async with collecting(broker, store, yields=True) as collector, asyncio.timeout(PATIENCE_S):
        await collector.wait_idle()
        assert collector.stored == 0
        other.close()
        await until(lambda: collector.stored)


async def test_an_nsqd_that_nobody_names_any_more_is_given_up(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Source(NOBODY, DEAD)
    looks = iter(
        [Backlog({gone: TopicBacklog(1, 0)}, ()), Backlog({}, ("nsqlookupd is silent",)), Backlog({}, ())]
    )
    asked = []

    async def find_backlog(_: Settings) -> Backlog:
        asked.append(len(collector._consumers))
        return next(looks, Backlog({}, ()))

    monkeypatch.setattr(collector_module, "find_backlog", find_backlog)
    collector = Collector(Settings(), store, log=logs.get_logger(), look_s=0.0)
    collector.start()
    await until(lambda: len(asked) >= 4)
    assert asked[:4] == [0, 1, 1, 0], "not as long as somebody is silent who may know it"
    await collector.stop()


async def test_without_an_answer_there_is_no_telling_whether_it_is_idle(store: Store) -> None:
    settings = Settings(nsqd=(NOBODY,))
    collector = Collector(settings, store, log=logs.get_logger())
    collector.start()
    with pytest.raises(LookupFailedError, match=r"needs all answers: nsqd 127\.0\.0\.1:1: .*--nsqd-http"):
        await collector.wait_idle()
    await collector.stop()


async def test_wrong_settings_end_it(store: Store) -> None:
    collector = Collector(Settings(nsqd=("a:1", "b:2"), nsqd_http=("c:3",)), store, log=logs.get_logger())
    collector.start()
    with pytest.raises(SettingsError, match="once for each --nsqd"):
        await collector.wait_failed()
    await collector.stop()


class TestProgram:
    """With a loop of its own."""

    def test_until_idle(self, threaded_broker: DevBroker, tmp_path: Path) -> None:
        async def prepare() -> None:
            publishers = PublisherPool(ConnectionOptions())
            await bury(publishers, threaded_broker, b"x")
            await publishers.close()

        asyncio.run(prepare())
        settings = told(threaded_broker, dead_store=str(tmp_path / "dead.sqlite"))
        wanted = frozenset({DEAD, "a.b.dead"})
        done = collect(settings, topics=wanted, exit_when_idle=True)
        assert done == CollectionReport(1, 0, frozenset({"a.b.dead"}))

    def test_until_a_signal(
        self, threaded_broker: DevBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop_event(_: object) -> asyncio.Event:
            stop = asyncio.Event()
            stop.set()
            return stop

        monkeypatch.setattr(module, "stop_event", stop_event)
        settings = told(threaded_broker, dead_store=str(tmp_path / "dead.sqlite"))
        assert collect(settings) == CollectionReport(0, 0, frozenset())

    def test_without_any_nsqd(self) -> None:
        with pytest.raises(SettingsError, match="give --nsqd"):
            collect(Settings())
