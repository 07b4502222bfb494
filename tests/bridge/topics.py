"""Topics of a real Kafka, written and read with bare clients of the library."""

import itertools
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka import Kafka
from tests.waiting import PATIENCE_S, until_blocking

_numbers = itertools.count(1)


def new_name() -> str:
    """Return a name that no topic has."""
    return f"topic-{next(_numbers)}"


class Topic:
    """A new topic.

    Args:
        kafka: The broker.
        partitions: How many.
        settings: Of the topic, with ``_`` for each dot.
    """

    def __init__(self, kafka: Kafka, partitions: int = 1, **settings: str) -> None:
        self.name = new_name()
        self._servers: dict[str, Any] = {"bootstrap.servers": kafka.address}
        config = {name.replace("_", "."): value for name, value in settings.items()}
        new = NewTopic(self.name, num_partitions=partitions, replication_factor=1, config=config)
        admin = AdminClient(self._servers)
        admin.create_topics([new])[self.name].result(PATIENCE_S)
        until_blocking(lambda: admin.list_topics(self.name, PATIENCE_S).topics[self.name].error is None)
        self._partitions = range(partitions)

    def write(self, *values: bytes | None, partition: int = 0, **more: Any) -> None:
        """Write records to a partition, and return when they are confirmed."""
        producer = Producer(self._servers)
        for value in values:
            producer.produce(self.name, value, partition=partition, **more)
        assert producer.flush(PATIENCE_S) == 0

    def write_transaction(self, *values: bytes, is_committed: bool) -> None:
        """Write records of one transaction, and commit or abort it."""
        producer = Producer(self._servers | {"transactional.id": new_name()})
        producer.init_transactions(PATIENCE_S)
        producer.begin_transaction()
        for value in values:
            producer.produce(self.name, value, partition=0)
        assert producer.flush(PATIENCE_S) == 0
        (producer.commit_transaction if is_committed else producer.abort_transaction)(PATIENCE_S)

    def read(self) -> Sequence[Message]:
        """Return the records of all partitions, in the order of each."""
        count, consumer = self.count(), self.reader()
        found = consumer.consume(count, PATIENCE_S)
        consumer.close()
        return found

    def reader(self) -> Consumer:
        """Return a consumer of all partitions from their beginning, to be closed."""
        consumer = self._consumer("reader")
        consumer.assign([TopicPartition(self.name, each, 0) for each in self._partitions])
        return consumer

    def count(self) -> int:
        """Return how many records there are."""
        consumer = self._consumer("reader")
        places = [TopicPartition(self.name, each) for each in self._partitions]
        found = sum(consumer.get_watermark_offsets(each, PATIENCE_S)[1] for each in places)
        consumer.close()
        return found

    def committed(self) -> list[int | None]:
        """Return the offset that the group of the topic's name has committed, of each partition.

        A group of its own: Kafka, killed and started again, waits for members of a group who left before.
        """
        consumer = self._consumer(self.name)
        asked = [TopicPartition(self.name, each) for each in self._partitions]
        found = consumer.committed(asked, PATIENCE_S)
        consumer.close()
        return [each.offset if each.offset >= 0 else None for each in found]

    def lag(self) -> int:
        """Return how many records this group has not committed."""
        consumer = self._consumer(self.name)
        asked = [TopicPartition(self.name, each) for each in self._partitions]
        places = consumer.committed(asked, PATIENCE_S)
        ends = [consumer.get_watermark_offsets(each, PATIENCE_S)[1] for each in places]
        consumer.close()
        return sum(end - max(0, each.offset) for each, end in zip(places, ends, strict=True))

    def _consumer(self, group: str) -> Consumer:
        settings = {"group.id": group, "auto.offset.reset": "earliest", "log_level": 0}
        return Consumer(self._servers | settings)
