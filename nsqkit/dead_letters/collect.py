"""Collect: dead letters from NSQ into a store; each is finished only once the store has it on the disk."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nsqkit.dead_letters.discover import Found, discover
from nsqkit.dead_letters.letter import read_letter
from nsqkit.dead_letters.store import Store
from nsqkit.errors import LookupFailedError, SettingsError
from nsqkit.nsq.consumer import Consumer, ConsumerOptions
from nsqkit.nsq.discovery import Endpoints, Source
from nsqkit.nsq.idle import wait_idle
from nsqkit.nsq.message import Message
from nsqkit.nsq.options import connection_options
from nsqkit.program import OnSecondSignal, stop_event, unless
from nsqkit.runtime.dead_letter import CHANNEL
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs

_IN_FLIGHT = 100
_BATCH = 500
_LOOK_S = 5.0
_CLOSE_S = 5.0


class Collector:
    """Takes in dead letters from every nsqd that is named or known, wherever some turn up.

    Args:
        settings: Name the nsqd and nsqlookupd.
        store: Where to.
        topics: The dead-letter topics; None for all.
        log: A structlog logger.
        look_s: Between two looks for more of them.
        yields: Leave a topic alone that somebody else reads already.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        topics: frozenset[str] | None = None,
        log: Any,
        look_s: float = _LOOK_S,
        yields: bool = False,
    ) -> None:
        self.stored = 0
        self.known = 0
        self._settings = settings
        self._store = store
        self._topics = topics
        self._log = log
        self._look_s = look_s
        self._yields = yields
        self._failures: tuple[str, ...] = ()
        self._consumers: dict[Source, Consumer] = {}
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._looking = asyncio.Lock()
        self._look_task: asyncio.Task[Found] | None = None
        self._is_stopping = asyncio.Event()
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def missing(self) -> frozenset[str]:
        """Topics that were asked for and found nowhere."""
        return (self._topics or frozenset()) - {source.topic for source in self._consumers}

    def start(self) -> None:
        """Begin, and return at once."""
        self._tasks = (asyncio.create_task(self._write()), asyncio.create_task(self._poll()))

    async def wait_failed(self) -> None:
        """Wait for what ends it before it is told to.

        Raises:
            DeadLetterStoreError: If the store takes no more.
            SettingsError: If there are other than one or no HTTP addresses for each nsqd that is named.
        """
        await self._or_failure(asyncio.Event().wait())

    async def wait_idle(self) -> None:
        """Wait until three looks in a row find no dead letter that is not in the store.

        Raises:
            LookupFailedError: If an nsqd or nsqlookupd cannot be asked, and never could.
            DeadLetterStoreError: If the store takes no more.
        """
        await self._or_failure(self._idle())

    async def stop(self) -> None:
        """Take in no more, store what has arrived, and disconnect.

        Raises:
            DeadLetterStoreError: If the store takes no more; what it has not taken goes back to nsqd.
        """
        writer, poller = self._tasks
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        await self._look_over()
        consumers = self._consumers.values()
        await asyncio.gather(*(each.stop_intake() for each in consumers))
        self._is_stopping.set()
        try:
            await writer
        finally:
            while not self._arrived.empty():
                self._arrived.get_nowait().requeue(0.0)
            await asyncio.gather(*(each.close(_CLOSE_S) for each in consumers))

    async def _or_failure(self, work: Coroutine[Any, Any, object]) -> None:
        if not await unless(asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED), work):
            for each in self._tasks:
                if each.done():
                    each.result()

    async def _idle(self) -> None:
        left, has_answered = 0, False

        async def is_idle() -> bool:
            nonlocal left, has_answered
            found = await self._look()
            if found.failures and not has_answered:
                raise LookupFailedError("", f"--exit-when-idle cannot tell: {'; '.join(found.failures)}")
            has_answered = True
            left = sum(each.count for source, each in found.waiting.items() if source in self._consumers)
            return not (left or found.failures)

        await wait_idle(is_idle, report=lambda: self._log.info("waiting_until_idle", left=left))

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self._look_s)

    async def _look(self) -> Found:
        """Look for dead letters, and read them where nobody here does yet.

        One look after the other: an older one knows nothing of what a newer one has found. And each to
        its end: tornado leaves the socket of a request open that is cancelled.
        """
        async with self._looking:
            await self._look_over()
            self._look_task = asyncio.create_task(self._look_once())
            return await asyncio.shield(self._look_task)

    async def _look_over(self) -> None:
        if self._look_task is not None:
            await asyncio.wait({self._look_task})

    async def _look_once(self) -> Found:
        found = await discover(self._settings)
        if found.failures and found.failures != self._failures:
            self._log.warning("dead_letters_not_found", error="; ".join(found.failures))
        self._failures = found.failures
        for source in sorted(found.waiting.keys() - self._consumers.keys()):
            is_wanted = self._topics is None or source.topic in self._topics
            if is_wanted and not (self._yields and found.waiting[source].readers):
                self._consumers[source] = self._consumer(source)
        if not found.failures:
            await self._leave(self._consumers.keys() - found.waiting.keys())
        return found

    def _consumer(self, source: Source) -> Consumer:
        consumer = Consumer(
            ConsumerOptions(
                topics=(source.topic,),
                channel=CHANNEL,
                connection=connection_options(self._settings),
                max_in_flight=_IN_FLIGHT,
                is_fixed=True,
            ),
            Endpoints((source.address,)),
            on_message=self._arrived.put_nowait,
            on_settle_failure=lambda _: None,  # it comes again, and is known then
            log=self._log,
        )
        consumer.start()
        return consumer

    async def _leave(self, sources: set[Source]) -> None:
        """Give up what is gone for good: an nsqd that nobody names any more, a topic that was deleted."""
        gone = [source for source in sources if not self._consumers[source].connections]
        await asyncio.gather(*(self._consumers.pop(source).close(0.0) for source in gone))

    async def _write(self) -> None:
        """Store what arrives, as much at a time as has arrived meanwhile."""
        while batch := await self._batch():
            await self._keep(batch)

    async def _batch(self) -> list[Message]:
        """Wait for messages; none once it is stopping."""
        batch = []
        if self._arrived.empty():
            arriving = asyncio.create_task(self._arrived.get())
            if not await unless(self._is_stopping, arriving):
                return []
            batch.append(arriving.result())
        while len(batch) < _BATCH and not self._arrived.empty():
            batch.append(self._arrived.get_nowait())
        return batch

    async def _keep(self, batch: list[Message]) -> None:
        try:
            stored = await asyncio.to_thread(self._store.add, [read_letter(each) for each in batch])
        except BaseException:
            for message in batch:
                message.requeue(0.0)
            raise
        self.stored += stored
        self.known += len(batch) - stored
        for message in batch:
            message.finish()


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection brought.

    Args:
        stored: Dead letters that are in the store now.
        known: Deliveries of those that were there before.
        missing: Topics that were asked for and found nowhere.
    """

    stored: int
    known: int
    missing: frozenset[str]


def collect(
    settings: Settings,
    *,
    topics: frozenset[str] | None = None,
    exit_when_idle: bool = False,
    on_second_signal: OnSecondSignal = None,
) -> Collected:
    """Collect dead letters until SIGTERM or SIGINT; runs an event loop of its own.

    Args:
        settings: Name the nsqd, nsqlookupd and the store.
        topics: The dead-letter topics; None for all.
        exit_when_idle: End when none is left.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

    Raises:
        SettingsError: If no nsqd is named.
        LookupFailedError: If there is no telling whether any is left.
        DeadLetterStoreError: If the store cannot be used.
    """
    if not (settings.nsqd or settings.lookupd):
        raise SettingsError("no nsqd to collect from: give --nsqd HOST:4150 or --lookupd HOST:4161")

    async def run(store: Store) -> Collected:
        stop = stop_event(on_second_signal)
        collector = Collector(settings, store, topics=topics, log=logs.get_logger())
        collector.start()
        try:
            await unless(stop, collector.wait_idle() if exit_when_idle else collector.wait_failed())
        finally:
            await collector.stop()
        return Collected(collector.stored, collector.known, collector.missing)

    with Store(Path(settings.dead_store), make=True) as store:
        return asyncio.run(run(store))
