"""Partner: orders sample baskets through Kafka, and takes the notifications out of its queue in RabbitMQ."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aio_pika
from aio_pika.abc import AbstractQueue
from confluent_kafka import Producer

from examples.orders.brokers.rabbitmq import QUEUE
from examples.orders.trace import Trace

TOPIC: Final = "orders"
"""The topic of Kafka that bridge.toml reads."""
_CONFIRM_S: Final = 30.0
_PREFETCH: Final = 100
_RESULTS: Final = {"shop.order_confirmed.v1": "confirmed", "shop.order_cancelled.v1": "cancelled"}


class UnconfirmedError(Exception):
    """Kafka has not confirmed all orders.

    Args:
        count: How many are not confirmed.
    """

    def __init__(self, count: int) -> None:
        super().__init__(f"Kafka has not confirmed {count} orders within {_CONFIRM_S:g} s")


class Partner:
    """Orders, and waits for the notifications.

    Args:
        kafka: ``host:port`` of Kafka.
        queue: The queue of its notifications, open.

    Attributes:
        results: ``confirmed`` or ``cancelled``, by the id of the order.
        notifications: How many of its orders have arrived; one may arrive twice.
    """

    def __init__(self, kafka: str, queue: AbstractQueue) -> None:
        self._kafka = kafka
        self._queue = queue
        self._ordered: set[str] = set()
        self.results: dict[str, str] = {}
        self.notifications = 0

    @classmethod
    @asynccontextmanager
    async def connected(cls, kafka: str, amqp: str) -> AsyncIterator[Self]:
        """Yield a partner.

        Args:
            kafka: ``host:port`` of Kafka, which it looks for with its first order.
            amqp: ``host:port`` of RabbitMQ.

        Raises:
            AMQPException: If RabbitMQ is away, or has no such queue.
        """
        async with await aio_pika.connect(f"amqp://{amqp}") as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=_PREFETCH)
            yield cls(kafka, await channel.get_queue(QUEUE))

    @property
    def still_open(self) -> int:
        """How many orders have no notification."""
        return len(self._ordered) - len(self.results)

    async def order(self, baskets: Iterator[dict[str, Any]], count: int, *, rate: float = 0.0) -> None:
        """Write orders to Kafka; all of them are confirmed.

        Args:
            baskets: Their data, *count* or more.
            count: How many; 1 or more.
            rate: Orders per second; 0 for as many as possible.

        Raises:
            UnconfirmedError: If Kafka is away.
        """
        producer = Producer({"bootstrap.servers": self._kafka, "log_level": 0})  # it would log each attempt
        for basket in itertools.islice(baskets, count):
            event = _event(basket)
            self._ordered.add(event["id"])
            producer.produce(TOPIC, json.dumps(event).encode(), key=basket["customer_id"])
            await asyncio.sleep(1 / rate if rate else 0)
        if unconfirmed := await asyncio.to_thread(producer.flush, _CONFIRM_S):
            raise UnconfirmedError(unconfirmed)

    async def wait_final(self, wait_s: float) -> None:
        """Take notifications out of the queue, until every order has one.

        Args:
            wait_s: Longest wait, seconds.
        """
        try:
            async with asyncio.timeout(wait_s), self._queue.iterator() as messages:
                async for message in messages:
                    self._note(json.loads(message.body))
                    await message.ack()
                    if not self.still_open:
                        return
        except TimeoutError:
            pass

    def _note(self, event: dict[str, Any]) -> None:
        order_id = event["data"]["order_id"]
        if order_id in self._ordered:  # others order, too
            self.notifications += 1
            self.results[order_id] = _RESULTS[event["type"]]


def _event(basket: dict[str, Any]) -> dict[str, Any]:
    """Return a basket as an event, whose id is the id of the order."""
    order_id = str(uuid.uuid4())
    return {
        "specversion": "1.0",
        "type": "shop.order_requested.v1",
        "source": "partner",
        "id": order_id,
        "correlationid": order_id,
        "traceparent": Trace.of(None).traceparent,
        "datacontenttype": "application/json",
        "data": basket,
    }
