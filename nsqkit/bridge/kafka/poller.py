"""Kafka poller: the one thread that calls a consumer of the library; commands and records pass through it.

Partitions change hands only inside a poll. So whatever this thread does between two polls, such as a commit,
it does for partitions that are still ours.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.kafka.client import (
    FORBIDDEN,
    MISSING,
    PROBE_S,
    Link,
    error_of,
    forbidden,
    missing_topic,
    probe,
)
from nsqkit.bridge.kafka.offsets import at, committed, ends, lag
from nsqkit.bridge.kafka.record import record_of
from nsqkit.bridge.record import Record
from nsqkit.nsq.log import Log
from nsqkit.policy.committable import Committable
from nsqkit.policy.peer_text import peer_text

MAX_RECORDS = 500
DRAIN_S = 10.0
"""Seconds that records in flight have to be confirmed before their partition is given up."""
PATIENCE_S = 2.0
"""Seconds without a read until partitions are paused: pausing drops what the library has fetched."""
_POLL_S = 0.1

Deliver = Callable[[Sequence[Record] | BaseException], None]
"""Takes the records of a read, or the error that ended the poller; called in the poller's thread."""


class Place(NamedTuple):
    """A partition during one assignment; the token of its records."""

    partition: int
    progress: Committable


class KafkaPoller(threading.Thread):
    """Polls a consumer until it is closed, also while nothing is read, so that it stays in its group.

    Args:
        settings: The library's settings for the consumer.
        address: The topic.
        link: The consumer's.
        deliver: Takes what was read, once per :meth:`want`.
        log: A logger with the route's name.

    Raises:
        KafkaException: If a setting cannot be used.
    """

    def __init__(
        self, settings: dict[str, Any], address: KafkaAddress, link: Link, deliver: Deliver, log: Log
    ) -> None:
        super().__init__(name=f"kafka {address.topic}", daemon=True)
        self.consumer = Consumer({**settings, "on_commit": self._commit_ended})
        self.is_in_flight = False  # whether the reader has the records that were delivered
        self.is_draining = False  # whether partitions are about to be given up
        self._address = address
        self._link = link
        self._deliver = deliver
        self._log = log
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._places: dict[int, Place] = {}
        self._early: list[Record] = []  # arrived although the partitions were paused
        self._is_wanted = False
        self._is_held = False
        self._is_paused = False
        self._is_closing = False
        self._is_committing = False
        self._idle_since_s = self._probed_s = time.monotonic()

    def call(self, command: Callable[[], None]) -> None:
        """Have the thread call a function soon."""
        self._commands.put(command)

    def want(self) -> None:
        """Deliver the next records; the ones before are done. Only for :meth:`call`, as the methods below."""
        self._is_wanted = True
        self.is_in_flight = False

    def hold(self, is_held: bool) -> None:  # noqa: FBT001
        """Read nothing, or read again."""
        self._is_held = is_held

    def close(self) -> None:
        """Commit, leave the group, and end the thread."""
        self._is_closing = True

    def owns(self, record: Record) -> bool:
        """Whether the record's partition has been ours since it was read; from any thread."""
        return self._places.get(record.token.partition) is record.token

    def confirm(self, records: Iterable[Record]) -> None:
        """Count records as done; the next turn commits as far as that allows."""
        for record in records:
            if self.owns(record):
                record.token.progress.confirm(record.position)

    def lag(self) -> int | None:
        """Return how many offsets of the whole topic are not committed; None if no broker answers."""
        if self._link.problems or self._is_closing:
            return None
        try:
            return lag(self.consumer, self._address.topic)
        except KafkaException:
            return None

    def run(self) -> None:
        """Poll until closed."""
        try:
            self.consumer.subscribe(
                [self._address.topic],
                on_assign=self._assigned,
                on_revoke=self._revoked,
                on_lost=self._lost,
            )
            while not self._is_closing:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - the reader gets it
            self._deliver(error)
        finally:
            self._is_closing = True
            self._commit_now(self._places.values())
            self.consumer.close()

    def _turn(self) -> None:
        is_reading = self._is_wanted and not self._is_held
        self._run_commands(0.0 if is_reading else _POLL_S)
        self._commit()
        if self._link.problems and time.monotonic() > self._probed_s + PROBE_S:
            probe(self.consumer, self._address, self._link)
            self._probed_s = time.monotonic()
        if is_reading:
            self._read()
        elif self._is_held or time.monotonic() > self._idle_since_s + PATIENCE_S:
            self._stay()

    def _run_commands(self, timeout_s: float) -> None:
        try:
            self._commands.get(timeout=timeout_s)() if timeout_s else self._commands.get_nowait()()
            while True:
                self._commands.get_nowait()()
        except queue.Empty:
            pass

    def _read(self) -> None:
        if self._is_paused:
            self.consumer.resume(self.consumer.assignment())
            self._is_paused = False
        records, self._early = self._early or self._poll(_POLL_S), []
        if records:
            self._is_wanted = False
            self._idle_since_s = time.monotonic()
            self._deliver(records)

    def _stay(self) -> None:
        """Stay in the group without reading."""
        if not self._is_paused:
            self.consumer.pause(self.consumer.assignment())
            self._is_paused = True
        self._early += self._poll(0.0)

    def _poll(self, timeout_s: float) -> list[Record]:
        first = self.consumer.poll(timeout_s)
        if first is None:
            return []
        self._link.answered()
        # With a timeout, consume() would wait for as many as it may return.
        found = [first, *self.consumer.consume(MAX_RECORDS - 1, timeout=0)]
        return [record for message in found if (record := self._record(message)) is not None]

    def _record(self, message: Message) -> Record | None:
        """Return the record of a message; None for an error, and for the end of a partition."""
        place = self._places.get(message.partition() or 0)
        error = message.error()
        if error is not None:
            self._check(error, message, place)
            return None
        if place is None:  # given up since it was fetched
            return None
        record = record_of(message, place)
        place.progress.read(record.position)
        return record

    def _check(self, error: KafkaError, message: Message, place: Place | None) -> None:
        """Take note of the end of a partition; raise what only a person can change."""
        if error.code() == KafkaError._PARTITION_EOF and place is not None:
            place.progress.reach(message.offset() or 0)
        elif error.code() in MISSING:
            raise missing_topic(self._address)
        elif error.code() in FORBIDDEN:
            raise forbidden(self._address, error)

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._places[each.partition] = Place(each.partition, Committable())
        if self._address.start == "latest":
            self._begin_at_end(partitions)
        consumer.incremental_assign(partitions)
        # The library remembers the pause of a partition that was lost and comes back.
        (consumer.pause if self._is_paused else consumer.resume)(partitions)

    def _begin_at_end(self, partitions: list[TopicPartition]) -> None:
        """Begin at the end where the group has committed nothing, and commit that at once.

        Otherwise records that arrive before its first commit would be skipped if it starts again.
        """
        numbers = [each.partition for each in partitions]
        while numbers and not self._is_closing:
            try:
                known = committed(self.consumer, self._address.topic, numbers)
                end = ends(self.consumer, self._address.topic, numbers)
            except KafkaException:  # another answer would skip records, or read all of them
                self._run_commands(_POLL_S)
                continue
            for each in partitions:
                if each.partition not in known:
                    each.offset = end[each.partition]
                    self._places[each.partition].progress.reach(each.offset)
            return

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = [place for each in partitions if (place := self._places.get(each.partition))]
        self._drain(places)
        self._commit_now(places)
        self._lost(consumer, partitions)

    def _lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for each in partitions:
            self._places.pop(each.partition, None)
        self._early = [record for record in self._early if self.owns(record)]
        consumer.incremental_unassign(partitions)

    def _drain(self, places: Sequence[Place]) -> None:
        """Wait until the records in flight are confirmed, so that the next owner does not read them again."""
        give_up_s = time.monotonic() + DRAIN_S
        self.is_draining = True
        self._run_commands(0.0)
        while (
            self.is_in_flight
            and not self._is_closing
            and any(each.progress.has_unconfirmed for each in places)
        ):
            if time.monotonic() > give_up_s:
                partitions = [each.partition for each in places]
                self._log.warning("kafka_batch_abandoned", topic=self._address.topic, partitions=partitions)
                break
            self._run_commands(_POLL_S)
        self.is_draining = False

    def _commit(self) -> None:
        """Commit what can be, unless a commit is under way: the next one then has all that came meanwhile."""
        offsets = [] if self._is_committing or self._link.problems else self._to_commit(self._places.values())
        if offsets:
            self._is_committing = True
            self.consumer.commit(offsets=offsets, asynchronous=True)

    def _commit_ended(self, error: KafkaError | None, offsets: list[TopicPartition]) -> None:
        self._is_committing = False
        if error is not None:
            return
        for each in offsets:
            if each.error is None and (place := self._places.get(each.partition)):
                place.progress.commit(each.offset)

    def _commit_now(self, places: Iterable[Place]) -> None:
        """Commit, and wait for it; without it, records are read again."""
        offsets = [] if self._link.problems else self._to_commit(places)
        if offsets:
            try:
                self.consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                self._log.warning("kafka_not_committed", reason=peer_text(error_of(error).str()))

    def _to_commit(self, places: Iterable[Place]) -> list[TopicPartition]:
        return [
            at(self._address.topic, place.partition, offset)
            for place in places
            if (offset := place.progress.offset) is not None
        ]
