"""Orders: written to Kafka with a bare client, each confirmed by the broker before it counts."""

import asyncio
import json
import time
from collections.abc import Callable, Collection
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from tests.bridge.topics import Topic
from tests.chaos.bridge.books import order_id
from tests.chaos.ledger import Ledger
from tests.kafka import Kafka
from tests.waiting import until

PARTITIONS: Final = 3
MOST_UNDER_WAY: Final = 1000
_TICK_S: Final = 0.02


class Orders:
    """Writes orders at a steady rate, to each partition in turn.

    Args:
        kafka: The broker.
        topic: A topic with ``PARTITIONS`` partitions.
        ledger: Gets the ids of confirmed orders.

    Attributes:
        written: Orders that were written; the next one has this number.
        confirmed: Orders that Kafka has confirmed.
    """

    def __init__(self, kafka: Kafka, topic: Topic, ledger: Ledger) -> None:
        self.written = 0
        self.confirmed = 0
        self._topic = topic.name
        self._ledger = ledger
        self._producer = Producer(
            {"bootstrap.servers": kafka.address, "acks": "all", "enable.idempotence": True, "log_level": 0}
        )

    async def write(self, rate: float, arrived: Collection[str], is_enough: Callable[[], bool]) -> None:
        """Write orders, also while the broker is away, and return when each is confirmed or given up.

        Args:
            rate: Orders per second; fewer where more than 1,000 would be on their way.
            arrived: Orders that have arrived; it grows.
            is_enough: Returns whether to stop.
        """
        looked_s, due = time.monotonic(), 0.0
        while not is_enough():
            now_s = time.monotonic()
            due = min(due + (now_s - looked_s) * rate, len(arrived) + MOST_UNDER_WAY)
            looked_s = now_s
            while self.written < due:
                self._write()
            self._producer.poll(0)
            await asyncio.sleep(_TICK_S)  # the rate is the load
        await until(lambda: self._producer.poll(0) is not None and not len(self._producer))

    def _write(self) -> None:
        order = order_id(self.written)
        partition = self.written % PARTITIONS
        self._producer.produce(self._topic, _event(order), partition=partition, on_delivery=self._delivered)
        self.written += 1

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.confirmed += 1
            self._ledger.write(json.loads(message.value() or b"")["id"])


def _event(order: str) -> bytes:
    event = {"specversion": "1.0", "type": "chaos.bridge.ordered.v1", "source": "shop", "id": order}
    return json.dumps({**event, "data": {"order_id": order}}).encode()
