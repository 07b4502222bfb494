"""Bridge ends: bare clients of the libraries that a bridge uses, which confirm as a bridge does."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from tests.rabbitmq import PASSWORD, USER

IN_FLIGHT = 100
"""Writes that are not confirmed yet: ``max_in_flight`` of a route, by default."""
PREFETCH = 500
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Spent:
    """What each message has taken.

    Args:
        messages_per_s: Rate.
        cpu_us: CPU time of the client, µs per message.
    """

    messages_per_s: float
    cpu_us: float


class Watch:
    """Measures from its creation on."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def spent(self, count: int) -> Spent:
        """Return what *count* messages have taken."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        return Spent(count / wall_s, cpu_s / count * 1e6)


def write_kafka(servers: str, topic: str, bodies: Sequence[bytes]) -> Spent:
    """Write records with ``acks=all`` and idempotence, and wait until all are confirmed."""
    producer = Producer(
        {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "log_level": 0}
    )
    confirmed = 0

    watch = Watch()

    def deliver(error: KafkaError | None, _: Message) -> None:
        nonlocal confirmed
        if error is not None:
            raise KafkaException(error)
        confirmed += 1

    for number, body in enumerate(bodies):
        while number - confirmed >= IN_FLIGHT:
            producer.poll(0.1)
        producer.produce(topic, body, on_delivery=deliver)
        if number == 0:  # the producer connects, and asks for its id
            producer.flush(PATIENCE_S)
            watch = Watch()
    producer.flush(PATIENCE_S)
    return watch.spent(confirmed - 1)


def read_kafka(servers: str, topic: str, partitions: int, count: int) -> Spent:
    """Read records, and commit after each read."""
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": f"bare-{topic}", "enable.auto.commit": False}
    )
    consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    seen = len(_read(consumer))
    watch, first = Watch(), seen
    while seen < count:
        seen += len(_read(consumer))
        consumer.commit(asynchronous=True)
    spent = watch.spent(count - first)
    consumer.close()
    return spent


def _read(consumer: Consumer) -> list[Message]:
    first = consumer.poll(PATIENCE_S)
    if first is None:
        raise TimeoutError("Kafka has no record")
    return [first, *consumer.consume(PREFETCH - 1, timeout=0)]


async def write_rabbitmq(port: int, queue: str, bodies: Iterable[bytes]) -> Spent:
    """Publish persistent messages to a new quorum queue, each confirmed, and none unroutable."""
    async with channel_of(port) as channel:
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        exchange, left, count = channel.default_exchange, iter(bodies), 0

        async def work() -> None:
            nonlocal count
            for body in left:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                await exchange.publish(message, queue, mandatory=True)
                count += 1

        watch = Watch()
        await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
        return watch.spent(count)


async def read_rabbitmq(port: int, queue: str, count: int) -> Spent:
    """Read messages, and acknowledge each one."""
    async with channel_of(port) as channel:
        await channel.set_qos(prefetch_count=PREFETCH)
        seen, are_all_read = 0, asyncio.Event()

        async def read(message: AbstractIncomingMessage) -> None:
            nonlocal seen
            await message.ack()
            seen += 1
            if seen == count:
                are_all_read.set()

        watch = Watch()
        await (await channel.get_queue(queue)).consume(read)
        async with asyncio.timeout(PATIENCE_S * 4):
            await are_all_read.wait()
        return watch.spent(count)


@asynccontextmanager
async def channel_of(port: int) -> AsyncIterator[AbstractChannel]:
    """Yield a channel with publisher confirms, on which an unroutable message raises."""
    connecting = aio_pika.connect(host="127.0.0.1", port=port, login=USER, password=PASSWORD)
    async with (
        await connecting as connection,
        connection.channel(publisher_confirms=True, on_return_raises=True) as channel,
    ):
        yield channel
