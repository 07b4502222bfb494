"""Kafka target: a topic that a route writes, each record confirmed by all in-sync replicas."""

import asyncio
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.kafka.client import (
    PROBE_S,
    Link,
    check_topic,
    error_of,
    largest_batch_bytes,
    probe,
    servers,
    set_result,
    settings,
    unusable,
)
from nsqkit.bridge.kafka.record import HeaderList, headers_of
from nsqkit.bridge.record import Record
from nsqkit.errors import OutageError, RecordRefusedError
from nsqkit.nsq.log import Log
from nsqkit.policy.peer_text import peer_text

DELIVERY_S = 10.0
"""Seconds until a record that is not confirmed is an outage."""
_BUFFER_KIB = 65_536
_POLL_S = 0.1
_REFUSED = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
    }
)
_OUT_OF_STEP = frozenset(
    {
        KafkaError._FATAL,
        KafkaError._INCONSISTENT,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)
"""Errors after which an idempotent producer may never succeed again."""


class _Ended(NamedTuple):
    """The end of one record, as its producer reports it."""

    confirmed: asyncio.Future[KafkaError | None]
    producer: Producer
    error: KafkaError | None


class KafkaTarget:
    """Writes a topic; see :class:`~nsqkit.bridge.ports.RecordTarget`.

    Args:
        address: The topic.
        access: Credentials and TLS.
        create: Whether to create a topic that does not exist, with the broker's defaults.
        log: A logger with the route's name.
    """

    def __init__(self, address: KafkaAddress, access: Access, *, create: bool, log: Log) -> None:
        self._address = address
        self._create = create
        self._log = log
        self._link = Link(servers(address), log)
        self._common = settings(address, access, self._link)
        self._settings = self._common | {
            "acks": "all",
            "enable.idempotence": True,
            "message.timeout.ms": round(DELIVERY_S * 1000),
            "message.max.bytes": 1_000_000_000,  # the library's maximum, so that the topic's limit decides
            "queue.buffering.max.kbytes": _BUFFER_KIB,
            "partitioner": "murmur2_random",  # keys go to the partitions that Java's clients choose
        }
        self._producer: Producer | None = None
        self._old: list[Producer] = []
        self._poller: threading.Thread | None = None
        self._is_closing = False
        self._ended: list[_Ended] = []
        self._has_room = asyncio.Event()

    async def open(self) -> None:
        """Connect.

        Raises:
            BridgeError: If the topic does not exist, or Kafka refuses the credentials.
            OutageError: If no broker answers within 10 s.
        """
        self._producer = await asyncio.to_thread(self._connect)
        self._is_closing = False
        self._poller = threading.Thread(
            target=self._poll,
            args=(asyncio.get_running_loop(),),
            name=f"kafka {self._address.topic}",
            daemon=True,
        )
        self._poller.start()

    async def send(self, record: Record) -> None:
        """Write a record, and return when all in-sync replicas have it.

        Raises:
            RecordRefusedError: If Kafka refuses this record: it is over the topic's ``max.message.bytes``.
            OutageError: If Kafka does not confirm it within 10 s; it may be there.
        """
        headers = headers_of(record)
        confirmed: asyncio.Future[KafkaError | None] = asyncio.get_running_loop().create_future()
        give_up_s = time.monotonic() + DELIVERY_S
        while not self._produce(record, headers, confirmed):
            await self._room(give_up_s)
        if (error := await confirmed) is not None:
            raise self._failure(error)

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing can be written, one line each; empty if all is well."""
        return self._link.problems

    async def close(self) -> None:
        """Wait for records under way, for up to 10 s, and disconnect."""
        poller, self._poller = self._poller, None
        if poller is not None:
            self._is_closing = True
            await asyncio.to_thread(poller.join)
            self._producer = None

    def _connect(self) -> Producer:
        check_topic(self._common, self._address, self._link, create=self._create)
        self._settings["batch.size"] = largest_batch_bytes(self._common, self._address)
        return self._new_producer()

    def _new_producer(self) -> Producer:
        try:
            return Producer(self._settings)
        except KafkaException as error:
            raise unusable(self._common, self._address, error) from error

    def _produce(
        self,
        record: Record,
        headers: HeaderList,
        confirmed: asyncio.Future[KafkaError | None],
    ) -> bool:
        """Put a record into the library's buffer; return False if it is full."""
        producer = self._opened()
        self._has_room.clear()
        try:
            producer.produce(
                self._address.topic,
                record.body,
                record.key,
                on_delivery=partial(self._confirm, confirmed, producer),
                headers=headers,
            )
        except BufferError:
            return False
        except KafkaException as error:
            self._settle([_Ended(confirmed, producer, error_of(error))])
        return True

    async def _room(self, give_up_s: float) -> None:
        try:
            async with asyncio.timeout(give_up_s - time.monotonic()):
                await self._has_room.wait()
        except TimeoutError:
            raise OutageError(f"{self._place()}: too many records wait for Kafka to confirm them") from None

    def _confirm(
        self,
        confirmed: asyncio.Future[KafkaError | None],
        producer: Producer,
        error: KafkaError | None,
        _message: Message,
    ) -> None:
        self._ended.append(_Ended(confirmed, producer, error))  # in the thread that polls

    def _poll(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the library's callbacks until the target is closed and nothing is under way."""
        probed_s = time.monotonic()
        while not self._is_closing or len(self._opened()) or self._old:
            self._opened().poll(_POLL_S)
            for old in tuple(self._old):
                old.purge()
                old.poll(0)
                if not len(old):
                    self._old.remove(old)
            if self._ended:
                ended, self._ended = self._ended, []
                loop.call_soon_threadsafe(self._settle, ended)
            if self._link.problems and time.monotonic() > probed_s + PROBE_S:
                probe(self._opened(), self._address, self._link)
                probed_s = time.monotonic()

    def _settle(self, ended: Sequence[_Ended]) -> None:
        for each in ended:
            set_result(each.confirmed, each.error)
            if each.error is None:
                self._link.answered()
            elif each.error.code() in _OUT_OF_STEP and each.producer is self._producer:
                self._replace(each.producer, each.error)
        self._has_room.set()

    def _replace(self, producer: Producer, error: KafkaError) -> None:
        """Begin with a new producer; records of the old one fail, and their senders try again."""
        self._log.warning("kafka_producer_replaced", reason=peer_text(error.str()))
        self._producer = self._new_producer()
        self._old.append(producer)

    def _failure(self, error: KafkaError) -> RecordRefusedError | OutageError:
        text = peer_text(error.str())
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return RecordRefusedError(f"{self._place()} refuses a record over its max.message.bytes: {text}")
        if error.code() in _REFUSED:
            return RecordRefusedError(f"{self._place()} refuses a record: {text}")
        if error.code() == KafkaError._MSG_TIMED_OUT:
            why = (
                self._link.reason
                if self._link.problems
                else "not enough replicas, or a broker that is too slow"
            )
            return OutageError(f"{self._place()} did not confirm a record within {DELIVERY_S:g} s: {why}")
        return OutageError(f"{self._place()} did not confirm a record: {text}")

    def _place(self) -> str:
        return f"topic {self._address.topic} of Kafka at {servers(self._address)}"

    def _opened(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("open the target first")
        return self._producer
