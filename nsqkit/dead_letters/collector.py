"""Collector: finds dead letters on all nsqd and reads them into a store, also those that come later."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from nsqkit.dead_letters.backlog import Backlog, find_backlog
from nsqkit.dead_letters.store import Store
from nsqkit.dead_letters.writer import StoreWriter
from nsqkit.errors import LookupFailedError
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.discovery import Endpoints, Source
from nsqkit.nsq.idle import wait_idle
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.topic_channels import TopicChannels
from nsqkit.policy.new_faults import NewFaults
from nsqkit.program import unless
from nsqkit.runtime.dead_letter import CHANNEL
from nsqkit.settings.settings import Settings

_IN_FLIGHT = 100
_LOOK_S = 5.0
_CLOSE_S = 5.0


class Collector:
    """Collects dead letters from every nsqd in the settings or known to nsqlookupd.

    Args:
        settings: The nsqd and nsqlookupd to ask.
        store: The store to write to.
        topics: The dead-letter topics to collect; None for all.
        log: A structlog logger.
        look_s: Seconds between two looks for new dead-letter topics.
        yields: Whether to leave topics alone that another consumer already reads.
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
        self._settings = settings
        self._writer = StoreWriter(store)
        self._topics = topics
        self._log = log
        self._look_s = look_s
        self._yields = yields
        self._new_failures = NewFaults()
        self._consumers: dict[Source, Consumer] = {}
        self._looking = asyncio.Lock()
        self._look_task: asyncio.Task[Backlog] | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def stored(self) -> int:
        """Dead letters that were added to the store."""
        return self._writer.stored

    @property
    def known(self) -> int:
        """Redeliveries of dead letters that the store had already."""
        return self._writer.known

    @property
    def missing(self) -> frozenset[str]:
        """Topics that were selected and that no nsqd has."""
        return (self._topics or frozenset()) - {source.topic for source in self._consumers}

    def start(self) -> None:
        """Start collecting, and return at once."""
        self._tasks = (asyncio.create_task(self._writer.run()), asyncio.create_task(self._poll()))

    async def wait_failed(self) -> None:
        """Wait until it fails.

        Raises:
            DeadLetterStoreError: If the store fails.
            SettingsError: If the settings give HTTP addresses, but not one for each nsqd.
        """
        await self._or_failure(asyncio.Event().wait())

    async def wait_idle(self) -> None:
        """Wait until three looks in a row find no dead letter that is not in the store.

        Raises:
            LookupFailedError: If an nsqd or nsqlookupd has not answered yet and cannot be reached.
            DeadLetterStoreError: If the store fails.
        """
        await self._or_failure(self._idle())

    async def stop(self) -> None:
        """Stop intake, store the dead letters that have arrived, and disconnect.

        Raises:
            DeadLetterStoreError: If the store fails; messages that it did not store are requeued.
        """
        writer, poller = self._tasks
        poller.cancel()
        await asyncio.gather(poller, return_exceptions=True)
        await self._look_over()
        consumers = self._consumers.values()
        await asyncio.gather(*(each.stop_intake() for each in consumers))
        self._writer.stop()
        try:
            await writer
        finally:
            self._writer.give_back()
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
                why = "; ".join(found.failures)
                raise LookupFailedError("", f"--exit-when-idle needs all answers: {why}")
            has_answered = True
            left = sum(each.count for source, each in found.topics.items() if source in self._consumers)
            return not (left or found.failures)

        async def report() -> None:
            self._log.info("waiting_until_idle", left=left)

        await wait_idle(is_idle, report=report)

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self._look_s)

    async def _look(self) -> Backlog:
        """Look for dead letters, and subscribe to the topics that are new.

        Looks run one at a time, because an older one could undo what a newer one found. Each runs to its
        end, because tornado leaves the socket of a cancelled request open.
        """
        async with self._looking:
            await self._look_over()
            self._look_task = asyncio.create_task(self._look_once())
            return await asyncio.shield(self._look_task)

    async def _look_over(self) -> None:
        if self._look_task is not None:
            await asyncio.wait({self._look_task})

    async def _look_once(self) -> Backlog:
        found = await find_backlog(self._settings)
        if error := self._new_failures.take(found.failures, now_s=asyncio.get_running_loop().time()):
            self._log.warning("dead_letters_not_found", error=error)
        for source in sorted(found.topics.keys() - self._consumers.keys()):
            is_wanted = self._topics is None or source.topic in self._topics
            if is_wanted and not (self._yields and found.topics[source].readers):
                self._consumers[source] = self._consumer(source, found.http.get(source.address, ""))
        if not found.failures:
            await self._leave(self._consumers.keys() - found.topics.keys())
        return found

    def _consumer(self, source: Source, http_address: str) -> Consumer:
        """Subscribe to a source, and again after a lost connection if its nsqd still has the topic."""
        consumer = Consumer(
            ConsumerOptions(
                topics=(source.topic,),
                channel=CHANNEL,
                connection=connection_options(self._settings),
                max_in_flight=_IN_FLIGHT,
                is_fixed=True,
                may_create=False,
            ),
            Endpoints((source.address,), http={source.address: http_address}),
            on_messages=self._writer.put,
            on_settle_failure=lambda _: None,  # nsqd delivers it again, and the store knows it then
            log=self._log,
            channels=TopicChannels((), timeout_s=self._settings.connect_timeout_s, log=self._log),
        )
        consumer.start()
        return consumer

    async def _leave(self, sources: set[Source]) -> None:
        """Close the consumers of sources that are gone: an nsqd that left the cluster, a deleted topic."""
        gone = [source for source in sources if not self._consumers[source].connections]
        await asyncio.gather(*(self._consumers.pop(source).close(0.0) for source in gone))
