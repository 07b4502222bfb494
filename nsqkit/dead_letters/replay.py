"""Replay: publishes stored dead letters on the ``.retry`` topic of the handler that gave them up.

A record that a bridge could not pass on goes to the topic of its route.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store, StoredLetter
from nsqkit.errors import NsqkitError, PublishError, ReplayError, SettingsError
from nsqkit.events import rfc3339
from nsqkit.nsq.nodes import target_address, tcp_addresses
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.names import dead_topic, retry_topic
from nsqkit.program import OnSecondSignal, is_set_within, stop_event
from nsqkit.settings.settings import Settings

_BATCH: Final = 100

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """The destination of a dead letter.

    Args:
        topic: The handler's ``.retry`` topic, or the topic of a bridge's route.
        channel: The handler's channel on that topic; empty for a bridge's route.
        nsqd: ``host:port`` of the nsqd that the dead letter was collected from; empty for any.
    """

    topic: str
    channel: str
    nsqd: str


def target_of(stored: StoredLetter, store: Store) -> Target:
    """Return the destination of a dead letter, on the nsqd that it was collected from.

    It is the handler whose dead-letter topic the letter came from. A record that names another handler is not
    followed: anyone who may publish on one dead-letter topic could reach every handler by it.

    Raises:
        SettingsError: If the topic and channel of that handler are unknown.
        DeadLetterStoreError: If the store cannot be read.
    """
    letter = stored.letter
    if letter.is_of_bridge:
        return Target(letter.topic, "", "")
    named = letter.topic, letter.channel
    is_own = letter.channel and dead_topic(*named) == letter.dead_topic
    topic, channel = named if is_own else store.source_of(letter.dead_topic)
    if not channel:
        what = (
            f"names {letter.place}, whose dead-letter topic is another"
            if letter.channel
            else "is only a body"
        )
        raise SettingsError(
            f"dead letter {stored.id} {what}, and the name {letter.dead_topic} does not contain the "
            f"topic and channel of its handler: leave it out; `nsqkit dead show {stored.id} --raw` prints it"
        )
    return Target(retry_topic(topic, channel), channel, letter.nsqd)


def plan(ids: Sequence[int], store: Store) -> Counter[Target]:
    """Return how many dead letters would be published to each destination; nothing is published.

    Args:
        ids: Their numbers in the store.
        store: The store that has them.

    Raises:
        SettingsError: If the destination of one is unknown.
        DeadLetterStoreError: If the store cannot be read.
    """
    return Counter(target_of(each, store) for each in _each(ids, store))


def replay(
    ids: Sequence[int],
    store: Store,
    settings: Settings,
    *,
    rate: float | None = None,
    body: bytes | None = None,
    on_progress: Progress = lambda _done, _total: None,
    on_second_signal: OnSecondSignal = None,
) -> int:
    """Publish dead letters again, and return how many nsqd confirmed; runs an event loop of its own.

    Each is marked as replayed in the store after nsqd's OK. SIGTERM or SIGINT ends it after the publishes
    that are under way.

    Args:
        ids: Their numbers in the store, in the order of publishing.
        store: The store that has them.
        settings: The nsqd to use if the one that a dead letter was collected from cannot be reached.
        rate: Messages per second, above 0; None for as fast as nsqd confirms.
        body: The body to publish instead of the dead letter's own; None for its own.
        on_progress: Called with the number that is done and the number of all.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

    Raises:
        ReplayError: If one is not confirmed; those before it are.
        DeadLetterStoreError: If the store cannot be read.
    """

    async def run() -> int:
        publishers = PublisherPool(connection_options(settings), publish_timeout_s=settings.publish_timeout_s)
        try:
            return await Replay(store, settings, publishers, body=body).run(
                ids, rate=rate, stop=stop_event(on_second_signal), on_progress=on_progress
            )
        finally:
            await publishers.close()

    return asyncio.run(run())


class Replay:
    """Publishes stored dead letters.

    Args:
        store: The store that has them.
        settings: The nsqd to use if the one that a dead letter was collected from cannot be reached.
        publishers: The connections to publish on.
        body: The body to publish instead of the dead letter's own; None for its own.
    """

    def __init__(
        self, store: Store, settings: Settings, publishers: PublisherPool, *, body: bytes | None = None
    ) -> None:
        self._store = store
        self._settings = settings
        self._publishers = publishers
        self._body = body
        self._addresses: dict[Target, str] = {}

    async def run(
        self,
        ids: Sequence[int],
        *,
        rate: float | None = None,
        stop: asyncio.Event,
        on_progress: Progress = lambda _done, _total: None,
    ) -> int:
        """Publish dead letters, and return how many nsqd confirmed and the store has marked.

        Args:
            ids: Their numbers in the store, in the order of publishing.
            rate: Messages per second, above 0; None for as fast as nsqd confirms.
            stop: Ends the replay early, after the batch that is under way.
            on_progress: Called with the number that is done and the number of all.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

        Raises:
            ReplayError: If one is not confirmed; those before it are, and some after it may be.
        """
        most = _BATCH if rate is None else max(1, min(_BATCH, int(rate / 10)))
        done = 0
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        for first in range(0, len(ids), most):
            sent, failure = await self._send(ids[first : first + most])
            done += sent
            on_progress(done, len(ids))
            if failure is not None:
                raise ReplayError(done, len(ids), str(failure)) from failure
            if await is_set_within(stop, 0.0 if rate is None else started_s + done / rate - loop.time()):
                break
        return done

    async def _send(self, ids: Sequence[int]) -> tuple[int, BaseException | None]:
        """Publish a batch; return how many nsqd confirmed, and the first error or None."""
        sent: list[int] = []
        try:
            batch = await asyncio.to_thread(lambda: [*_each(ids, self._store)])
            targets = [target_of(each, self._store) for each in batch]
            for target in dict.fromkeys(targets):
                await self._reach(target)
            results = await asyncio.gather(*map(self._publish, batch, targets), return_exceptions=True)
            sent = [each.id for each, result in zip(batch, results, strict=True) if result is None]
            await asyncio.to_thread(self._store.mark_replayed, sent, rfc3339.from_ns(time.time_ns()))
        except NsqkitError as error:
            return len(sent), error
        return len(sent), next((result for result in results if result is not None), None)

    async def _reach(self, target: Target) -> None:
        """Find an nsqd that can be reached, the dead letter's own first, and create the channel there."""
        if target in self._addresses:
            return
        if not target.nsqd:
            self._addresses[target] = await target_address(self._settings)
            return
        try:
            await self._publishers.ensure_channel(target.nsqd, target.topic, target.channel)
            self._addresses[target] = target.nsqd
        except PublishError as error:
            if error.permanent:
                raise
            self._addresses[target] = await self._other(target, error)

    async def _other(self, target: Target, failure: PublishError) -> str:
        for address in await tcp_addresses(self._settings):
            if address != target.nsqd:
                try:
                    await self._publishers.ensure_channel(address, target.topic, target.channel)
                except PublishError as error:
                    if error.permanent:
                        raise
                else:
                    return address
        reason = f"{failure.reason}; give another nsqd with --nsqd or --lookupd"
        raise PublishError(failure.topic, failure.address, reason, False) from failure  # noqa: FBT003 - whether the error is permanent

    async def _publish(self, stored: StoredLetter, target: Target) -> None:
        body = stored.letter.body if self._body is None else self._body
        await self._publishers.publish(self._addresses[target], target.topic, body)


def _each(ids: Sequence[int], store: Store) -> Iterator[StoredLetter]:
    for first in range(0, len(ids), _BATCH):
        yield from store.find(Filters(ids=tuple(ids[first : first + _BATCH])), newest_first=False)
