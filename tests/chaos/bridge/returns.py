"""Returns: reads a topic of Kafka with a bare client, and writes down what has come back there."""

import asyncio
import json
from collections.abc import Callable
from typing import Final

from confluent_kafka import Message

from tests.bridge.topics import Topic
from tests.chaos.ledger import Ledger

_MOST: Final = 500
_TICK_S: Final = 0.02


class Returns:
    """Receives the notices that have passed RabbitMQ and NSQ once more.

    Args:
        topic: The topic.
        ledger: Gets order, notice and time.
        clock: Returns the seconds since the run began.

    Attributes:
        orders: Orders of which a notice has arrived.
    """

    def __init__(self, topic: Topic, ledger: Ledger, clock: Callable[[], float]) -> None:
        self.orders: set[str] = set()
        self._topic = topic
        self._ledger = ledger
        self._clock = clock
        self._count = 0

    async def read(self) -> None:
        """Read until cancelled; the library connects again by itself."""
        consumer = self._topic.reader()
        try:
            while True:
                for message in consumer.consume(_MOST, 0):
                    if message.error() is None:
                        self._arrive(message)
                await asyncio.sleep(_TICK_S)  # consume() does not wait, so that it does not block the loop
        finally:
            consumer.close()

    async def left(self) -> int:
        """Return how many records of the topic are not read yet."""
        return await asyncio.to_thread(self._topic.count) - self._count

    def _arrive(self, message: Message) -> None:
        event = json.loads(message.value() or b"")
        order = event["data"]["order_id"]
        self._ledger.write(f"{order} {event['id']} {self._clock():.3f}")
        self._count += 1
        self.orders.add(order)
