"""Kafka source: a topic that a route reads as a member of a consumer group."""

import asyncio
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaException

from nsqkit.bridge.access import Access
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.kafka.client import Link, check_topic, servers, set_result, settings, unusable
from nsqkit.bridge.kafka.poller import Deliver, KafkaPoller
from nsqkit.bridge.record import Record
from nsqkit.nsq.log import Log

LAG_S = 10.0
"""Seconds that the brokers have to answer :meth:`KafkaSource.lag`."""


class KafkaSource:
    """Reads a topic; see :class:`~nsqkit.bridge.ports.RecordSource`.

    Records of aborted transactions are not read. The group commits only what is confirmed without a gap, so
    records may be read again, but none is skipped.

    Args:
        address: The topic and the group.
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
            "group.id": address.group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",  # "latest" is the poller's, who commits it
            "session.timeout.ms": 10_000,  # also the longest wait for a commit without a broker
            "isolation.level": "read_committed",
            "partition.assignment.strategy": "cooperative-sticky",  # ADR 0097
            "enable.partition.eof": True,  # lag counts the markers of transactions, too
            "queued.max.messages.kbytes": 4_096,  # for each partition
            "fetch.queue.backoff.ms": 10,  # until more is fetched after that; the default of 1 s is a limit
        }
        self._poller: KafkaPoller | None = None
        self._arrived: Sequence[Record] = ()
        self._failure: BaseException | None = None
        self._is_wanted = False
        self._is_paused = False
        self._can_read = asyncio.Event()

    async def open(self) -> None:
        """Join the group.

        Raises:
            BridgeError: If the topic does not exist, or Kafka refuses the credentials.
            OutageError: If no broker answers within 10 s.
        """
        loop = asyncio.get_running_loop()

        def deliver(item: Sequence[Record] | BaseException) -> None:
            loop.call_soon_threadsafe(self._arrive, item)

        self._arrived, self._failure, self._is_wanted = (), None, False
        self._poller = await asyncio.to_thread(self._connect, deliver)
        self._poller.call(partial(self._poller.hold, self._is_paused))
        self._poller.start()

    async def read(self) -> Sequence[Record]:
        """Wait for records, and return 1 to 500.

        Raises:
            BridgeError: If the topic was deleted, or access to it is forbidden.
        """
        poller = self._opened()
        while True:
            if not self._is_wanted and not self._arrived:
                self._is_wanted = True
                poller.call(poller.want)
            await self._can_read.wait()
            if self._failure is not None:
                raise self._failure
            records, self._arrived, self._is_wanted = self._arrived, (), False
            self._update()
            poller.is_in_flight = True
            if ours := [record for record in records if poller.owns(record)]:
                return ours

    async def confirm(self, records: Sequence[Record]) -> None:
        """Mark records as done; their offsets are committed soon."""
        poller = self._opened()
        poller.call(partial(poller.confirm, tuple(records)))

    def pause(self) -> None:
        """Read nothing more, but stay in the group."""
        self._hold(is_held=True)

    def resume(self) -> None:
        """End the pause."""
        self._hold(is_held=False)

    async def lag(self) -> int | None:
        """Return how many offsets of the whole topic the group has not committed."""
        poller, loop = self._opened(), asyncio.get_running_loop()
        answer: asyncio.Future[int | None] = loop.create_future()

        def ask() -> None:
            loop.call_soon_threadsafe(set_result, answer, poller.lag())

        poller.call(ask)
        try:
            async with asyncio.timeout(LAG_S):
                return await answer
        except TimeoutError:
            return None

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing can arrive, one line each; empty if all is well."""
        return (str(self._failure),) if self._failure is not None else self._link.problems

    async def close(self) -> None:
        """Commit what is confirmed, and leave the group; waits for up to about 10 s if no broker answers."""
        poller, self._poller = self._poller, None
        if poller is not None:
            poller.call(poller.close)
            await asyncio.to_thread(poller.join)

    def _connect(self, deliver: Deliver) -> KafkaPoller:
        check_topic(self._common, self._address, self._link, create=self._create)
        try:
            return KafkaPoller(self._settings, self._address, self._link, deliver, self._log)
        except KafkaException as error:
            raise unusable(self._common, self._address, error) from error

    def _arrive(self, item: Sequence[Record] | BaseException) -> None:
        if isinstance(item, BaseException):
            self._failure = item
        else:
            self._arrived = item
        self._update()

    def _hold(self, *, is_held: bool) -> None:
        self._is_paused = is_held
        if self._poller is not None:
            self._poller.call(partial(self._poller.hold, is_held))
        self._update()

    def _update(self) -> None:
        if self._failure is not None or (self._arrived and not self._is_paused):
            self._can_read.set()
        else:
            self._can_read.clear()

    def _opened(self) -> KafkaPoller:
        if self._poller is None:
            raise RuntimeError("open the source first")
        return self._poller
