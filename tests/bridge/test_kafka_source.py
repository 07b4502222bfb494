"""A Kafka topic as a source, on a real broker: what is read, what is committed, and whose partition it is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import structlog
from confluent_kafka import TopicPartition

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.kafka import poller as kafka_poller
from nsqkit.bridge.kafka.source import KafkaSource
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError
from tests.bridge.topics import Topic, new_name
from tests.kafka import Kafka
from tests.waiting import PATIENCE_S, turns, until


def source_of(kafka: Kafka, topic: str, *, start: str = "earliest", create: bool = False) -> KafkaSource:
    address = KafkaAddress(servers=(kafka.address,), topic=topic, group=topic, start=start)
    return KafkaSource(address, Access(), create=create, log=structlog.get_logger())


@contextlib.asynccontextmanager
async def reading(kafka: Kafka, topic: Topic, **options: Any) -> AsyncIterator[KafkaSource]:
    source = source_of(kafka, topic.name, **options)
    await source.open()
    try:
        yield source
    finally:
        await source.close()


async def read(source: KafkaSource, count: int, *, is_confirmed: bool = True) -> list[Record]:
    """Read so many records, and confirm all of them, or all but those of the last read."""
    found: list[Record] = []
    while True:
        records = await source.read()
        found += records
        if len(found) >= count and not is_confirmed:
            return found
        await source.confirm(records)
        if len(found) >= count:
            return found


def bodies(records: Sequence[Record]) -> list[bytes | None]:
    return [record.body for record in records]


async def test_a_record_has_all_that_kafka_has(kafka: Kafka) -> None:
    topic = Topic(kafka)
    headers = [("content-type", b"application/json"), ("ce_id", b"7"), ("ce_id", b"\xff"), ("empty", None)]
    topic.write(b'{"a":1}', key=b"customer", headers=headers)
    topic.write(None, key=b"gone")
    async with reading(kafka, topic) as source:
        record, tombstone = await read(source, 2)
    assert (record.body, record.key, record.content_type) == (b'{"a":1}', b"customer", "application/json")
    assert record.headers == (
        ("content-type", b"application/json"),
        ("ce_id", b"7"),
        ("ce_id", b"\xff"),
        ("empty", b""),
    )
    assert (record.origin, record.position) == (f"{topic.name}[0]", 0)
    assert (tombstone.body, tombstone.key, tombstone.position) == (None, b"gone", 1)


async def test_only_a_contiguous_prefix_is_committed_and_the_rest_is_read_again(kafka: Kafka) -> None:
    topic = Topic(kafka)
    topic.write(b"0", b"1", b"2")
    async with reading(kafka, topic) as source:
        first, _, third = await read(source, 3, is_confirmed=False)
        await source.confirm([first, third])
    assert topic.committed() == [1]
    async with reading(kafka, topic) as source:
        assert bodies(await read(source, 2)) == [b"1", b"2"]
    assert topic.committed() == [3]


async def test_what_is_confirmed_while_a_commit_is_under_way_is_committed_after_it(kafka: Kafka) -> None:
    topic = Topic(kafka)
    topic.write(b"0", b"1", b"2")
    async with reading(kafka, topic) as source:
        first, *others = await read(source, 3, is_confirmed=False)
        await source.confirm([first])
        await source.confirm(others)
        await until(lambda: topic.committed() == [3])


async def test_a_group_that_starts_at_the_latest_misses_nothing_after_its_first_start(kafka: Kafka) -> None:
    topic = Topic(kafka)
    topic.write(b"before")
    async with reading(kafka, topic, start="latest"):
        await until(lambda: topic.committed() == [1])
    topic.write(b"between")
    async with reading(kafka, topic, start="latest") as source:
        assert bodies(await read(source, 1)) == [b"between"]


async def test_records_of_an_aborted_transaction_are_not_read_and_leave_no_lag(kafka: Kafka) -> None:
    topic = Topic(kafka)
    topic.write_transaction(b"kept", is_committed=True)
    topic.write_transaction(b"aborted", is_committed=False)
    topic.write(b"last")
    topic.write_transaction(b"aborted", is_committed=False)
    async with reading(kafka, topic) as source:
        assert bodies(await read(source, 2)) == [b"kept", b"last"]
        waiting = asyncio.create_task(source.read())
        await until(source.lag, lambda lag: lag == 0)
        waiting.cancel()


async def test_lag_counts_what_is_not_committed_in_all_partitions(kafka: Kafka) -> None:
    topic = Topic(kafka, partitions=2)
    topic.write(b"0", b"1", partition=0)
    topic.write(b"2", b"3", b"4", partition=1)
    async with reading(kafka, topic) as source:
        await until(source.lag, lambda lag: lag == 5)
        await read(source, 5)
        waiting = asyncio.create_task(source.read())
        await until(source.lag, lambda lag: lag == 0)
        waiting.cancel()


async def test_lag_counts_the_partitions_of_other_members(kafka: Kafka) -> None:
    topic = Topic(kafka, partitions=2)
    async with reading(kafka, topic) as first, reading(kafka, topic) as second:
        await until(lambda: len(owned(first)) == len(owned(second)) == 1)
        topic.write(b"0", partition=0)
        topic.write(b"1", partition=1)
        assert [await source.lag() for source in (first, second)] == [2, 2]


async def test_records_of_a_cancelled_read_come_with_the_next(kafka: Kafka) -> None:
    topic = Topic(kafka)
    async with reading(kafka, topic) as source:
        waiting = asyncio.create_task(source.read())
        await turns()
        waiting.cancel()
        topic.write(b"0")
        await until(lambda: source._arrived)
        assert bodies(await read(source, 1)) == [b"0"]
    assert topic.committed() == [1]


async def test_a_batch_in_flight_is_confirmed_before_another_member_gets_its_partition(kafka: Kafka) -> None:
    topic = Topic(kafka, partitions=2)
    topic.write(b"0", partition=0)
    topic.write(b"1", partition=1)
    async with reading(kafka, topic) as first:
        records = await read(first, 2, is_confirmed=False)
        async with reading(kafka, topic) as second:
            waiting = asyncio.create_task(second.read())
            await until(lambda: is_draining(first))
            assert not waiting.done()
            await first.confirm(records)
            await until(lambda: len(owned(first)) == len(owned(second)) == 1)
            topic.write(b"2", partition=owned(second)[0])
            assert bodies(await waiting) == [b"2"]


async def test_a_batch_that_is_not_confirmed_in_time_is_left_to_the_next_owner(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_poller, "DRAIN_S", 0.2)
    topic = Topic(kafka, partitions=2)
    topic.write(b"0", partition=0)
    topic.write(b"1", partition=1)
    async with reading(kafka, topic) as first:
        records = await read(first, 2, is_confirmed=False)
        async with reading(kafka, topic) as second:
            again = await second.read()
            (lost,) = owned(second)
            assert bodies(again) == [b"%d" % lost]
            await first.confirm(records)
            await until(lambda: topic.committed()[1 - lost] == 1)
            assert topic.committed()[lost] is None
            await second.confirm(again)
    assert topic.committed() == [1, 1]


def owned(source: KafkaSource) -> list[int]:
    assert source._poller is not None
    return list(source._poller._places)


def is_draining(source: KafkaSource) -> bool:
    assert source._poller is not None
    return source._poller.is_draining


async def test_a_pause_keeps_the_partitions(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka removes a member that does not poll, after max.poll.interval.ms."""
    topic = Topic(kafka)
    async with reading(kafka, topic) as source:
        topic.write(b"0")
        await read(source, 1)
        source.pause()
        source.pause()
        polls = polls_of(source, monkeypatch)
        waiting = asyncio.create_task(source.read())
        topic.write(b"1")
        before = owned(source)
        await until(lambda: len(polls) > 3)
        assert not waiting.done()
        assert owned(source) == before == [0]
        source.resume()
        assert bodies(await waiting) == [b"1"]


def polls_of(source: KafkaSource, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that grows with each poll."""
    poller, polls = source._poller, []
    assert poller is not None
    poll = poller._poll

    def counted(timeout_s: float) -> list[Record]:
        polls.append(timeout_s)
        return poll(timeout_s)

    monkeypatch.setattr(poller, "_poll", counted)
    return polls


async def test_a_topic_that_does_not_exist_is_named_and_not_created(kafka: Kafka) -> None:
    name = new_name()
    for _ in range(2):
        with pytest.raises(BridgeError, match=rf"no topic {name}: .*create = true"):
            await source_of(kafka, name).open()


async def test_a_topic_is_created_on_request(kafka: Kafka) -> None:
    source = source_of(kafka, new_name(), create=True)
    await source.open()
    await until(source.lag, lambda lag: lag == 0)
    await source.close()


async def test_a_killed_broker_loses_nothing(kafka: Kafka) -> None:
    topic = Topic(kafka)
    topic.write(b"0", b"1")
    other = source_of(kafka, Topic(kafka).name)
    await other.open()
    with structlog.testing.capture_logs() as lines:
        async with reading(kafka, topic) as source:
            records = await read(source, 2, is_confirmed=False)
            kafka.kill()
            await until(lambda: source.problems)
            assert await source.lag() is None
            await source.confirm(records[:1])
            await other.close()
            await asyncio.to_thread(kafka.start)
            await source.confirm(records[1:])
            topic.write(b"2")
            while bodies(await read(source, 1))[-1] != b"2":  # if it took long, Kafka has it read again
                pass
            assert source.problems == ()
    assert topic.committed() == [3]
    assert [line["event"] for line in lines] == ["kafka_away", "kafka_away", "kafka_back"]


async def test_a_partition_that_was_lost_while_paused_is_read_again(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library keeps a partition paused that another member had meanwhile."""
    monkeypatch.setattr(kafka_poller, "PATIENCE_S", 0.0)
    topic = Topic(kafka)
    async with reading(kafka, topic) as source:
        topic.write(b"0")
        records = await read(source, 1, is_confirmed=False)
        poller = source._poller
        assert poller is not None
        await until(lambda: poller._is_paused)
        poller.call(lambda: poller._lost(poller.consumer, poller.consumer.assignment()))
        await source.confirm(records)
        waiting = asyncio.create_task(source.read())
        await until(lambda: not poller._is_paused)
        poller.call(lambda: poller._assigned(poller.consumer, [TopicPartition(topic.name, 0)]))
        assert bodies(await asyncio.wait_for(waiting, PATIENCE_S)) == [b"0"]
