"""A Kafka topic as a target, on a real broker: what is confirmed, refused, or an outage."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from confluent_kafka import KafkaError

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.kafka import target as kafka_target
from nsqkit.bridge.kafka.target import KafkaTarget
from nsqkit.bridge.record import Record
from nsqkit.errors import BridgeError, OutageError, RecordRefusedError
from tests.bridge.topics import Topic, new_name
from tests.kafka import Kafka
from tests.waiting import until


def target_of(kafka: Kafka, topic: str, *, create: bool = False) -> KafkaTarget:
    address = KafkaAddress(servers=(kafka.address,), topic=topic)
    return KafkaTarget(address, Access(), create=create, log=structlog.get_logger())


@contextlib.asynccontextmanager
async def writing(kafka: Kafka, topic: Topic) -> AsyncIterator[KafkaTarget]:
    target = target_of(kafka, topic.name)
    await target.open()
    try:
        yield target
    finally:
        await target.close()


async def outcomes(target: KafkaTarget, *bodies: bytes) -> list[Any]:
    return await asyncio.gather(*(target.send(Record(body=body)) for body in bodies), return_exceptions=True)


async def test_kafka_has_all_of_a_record(kafka: Kafka) -> None:
    topic = Topic(kafka)
    headers = (("ce_id", b"7"), ("ce_id", b"\xff"))
    async with writing(kafka, topic) as target:
        await target.send(
            Record(body=b"{}", headers=headers, key=b"customer", content_type="application/json")
        )
        await target.send(
            Record(body=b"", headers=(("content-type", b"text/plain"),), content_type="ignored")
        )
        await target.send(Record(body=None, key=b"gone"))
    full, empty, tombstone = topic.read()
    assert (full.value(), full.key()) == (b"{}", b"customer")
    assert full.headers() == [*headers, ("content-type", b"application/json")]
    assert (empty.value(), empty.headers()) == (b"", [("content-type", b"text/plain")])
    assert (tombstone.value(), tombstone.key()) == (None, b"gone")


async def test_a_record_over_the_topics_limit_is_refused_alone(kafka: Kafka) -> None:
    topic = Topic(kafka)
    async with writing(kafka, topic) as target:
        refused, *others = await outcomes(target, bytes(2_000_000), *(b"%d" % n for n in range(10)))
    assert isinstance(refused, RecordRefusedError)
    assert "max.message.bytes" in str(refused)
    assert topic.name in str(refused)
    assert others == [None] * 10


async def test_records_share_no_batch_that_the_topic_would_refuse(kafka: Kafka) -> None:
    topic = Topic(kafka, max_message_bytes="20000")
    async with writing(kafka, topic) as target:
        assert await outcomes(target, *[bytes(5_000)] * 50) == [None] * 50


async def test_a_topic_takes_more_than_the_default_if_it_says_so(kafka: Kafka) -> None:
    topic = Topic(kafka, max_message_bytes="3000000")
    async with writing(kafka, topic) as target:
        assert await outcomes(target, bytes(2_000_000)) == [None]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(KafkaError._MSG_TIMED_OUT, OutageError, id="not confirmed in time"),
        pytest.param(KafkaError.NOT_ENOUGH_REPLICAS, OutageError, id="too few replicas"),
        pytest.param(KafkaError.TOPIC_AUTHORIZATION_FAILED, OutageError, id="forbidden meanwhile"),
        pytest.param(KafkaError._PURGE_QUEUE, OutageError, id="the producer was replaced"),
        pytest.param(KafkaError.MSG_SIZE_TOO_LARGE, RecordRefusedError, id="too large"),
        pytest.param(KafkaError.INVALID_RECORD, RecordRefusedError, id="no key in a compacted topic"),
    ],
)
def test_a_failure_is_the_records_or_an_outage(code: int, expected: type[Exception]) -> None:
    address = KafkaAddress(servers=("127.0.0.1:9092",), topic="orders")
    target = KafkaTarget(address, Access(), create=False, log=structlog.get_logger())
    failure = target._failure(KafkaError(code))
    assert isinstance(failure, expected)
    assert "topic orders of Kafka at 127.0.0.1:9092" in str(failure)


async def test_a_killed_broker_is_an_outage_and_the_target_recovers(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_target, "DELIVERY_S", 5.0)
    topic = Topic(kafka)
    bodies, later = ([b"%s-%d" % (name, number) for number in range(100)] for name in (b"first", b"later"))
    with structlog.testing.capture_logs() as lines:
        async with writing(kafka, topic) as target:
            assert await outcomes(target, *bodies) == [None] * 100
            under_way = asyncio.create_task(outcomes(target, *later))
            kafka.kill()
            ended, [away] = await asyncio.gather(under_way, outcomes(target, b"away"))
            assert isinstance(away, OutageError)
            assert len(target.problems) == 1
            await asyncio.to_thread(kafka.start)
            await until(lambda: not target.problems)
            await until(lambda: outcomes(target, b"again"), lambda found: found == [None])
    assert {type(each) for each in ended} <= {type(None), OutageError}
    confirmed = {*bodies, *(body for body, end in zip(later, ended, strict=True) if end is None), b"again"}
    assert {message.value() for message in topic.read()} >= confirmed
    assert [line["event"] for line in lines] == ["kafka_away", "kafka_back"]


async def test_an_out_of_step_producer_is_replaced(kafka: Kafka) -> None:
    topic = Topic(kafka)
    async with writing(kafka, topic) as target:
        producer = target._opened()
        waiting = asyncio.get_running_loop().create_future()
        error = KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER)
        target._settle([kafka_target._Ended(waiting, producer, error)])
        assert target._opened() is not producer
        assert await outcomes(target, b"1") == [None]


async def test_a_full_buffer_makes_senders_wait(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_target, "_BUFFER_KIB", 4)
    topic = Topic(kafka)
    async with writing(kafka, topic) as target:
        assert await outcomes(target, *[bytes(1_500)] * 30) == [None] * 30


async def test_a_topic_that_does_not_exist_is_named_and_not_created(kafka: Kafka) -> None:
    name = new_name()
    for _ in range(2):
        target = target_of(kafka, name)
        with pytest.raises(BridgeError, match=rf"no topic {name}: .*create = true"):
            await target.open()
        await target.close()


async def test_a_topic_is_created_on_request(kafka: Kafka) -> None:
    target = target_of(kafka, new_name(), create=True)
    await target.open()
    assert await outcomes(target, b"1") == [None]
    await target.close()
