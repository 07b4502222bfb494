"""Kafka offsets: where partitions begin and end, and how far a group is behind. Its questions block."""

from collections.abc import Iterable

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, OFFSET_INVALID, Consumer, TopicPartition

_ASK_S = 3.0


def at(topic: str, partition: int, offset: int = OFFSET_INVALID) -> TopicPartition:
    """Return a partition, and an offset in it, as the library takes them."""
    return TopicPartition(topic, partition, offset)


def committed(consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return what the consumer's group has committed, by partition; without those of which it has nothing.

    Raises:
        KafkaException: If no broker answers within 3 s.
    """
    found = consumer.committed([at(topic, each) for each in partitions], timeout=_ASK_S)
    return {each.partition: each.offset for each in found if each.offset >= 0}


def ends(consumer: Consumer, topic: str, partitions: Iterable[int]) -> dict[int, int]:
    """Return the offset after the last record that can be read, by partition; raises as ``committed``."""
    return _offsets(consumer, topic, partitions, OFFSET_END)


def lag(consumer: Consumer, topic: str) -> int:
    """Return how many offsets of all partitions the consumer's group has not committed.

    Raises:
        KafkaException: If no broker answers within a few seconds.
    """
    partitions = consumer.list_topics(topic, timeout=_ASK_S).topics[topic].partitions.keys()
    done = committed(consumer, topic, partitions)
    if new := partitions - done.keys():
        done |= _offsets(consumer, topic, new, OFFSET_BEGINNING)
    return sum(max(0, end - done[each]) for each, end in ends(consumer, topic, partitions).items())


def _offsets(consumer: Consumer, topic: str, partitions: Iterable[int], which: int) -> dict[int, int]:
    found = consumer.offsets_for_times([at(topic, each, which) for each in partitions], timeout=_ASK_S)
    return {each.partition: each.offset for each in found}
