"""Letters: the newest dead letters of a handler in the store, and their replay, one at a time."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from nsqkit.dead_letters.filters import Condition, Filters
from nsqkit.dead_letters.replay import Replay
from nsqkit.dead_letters.store import Store, StoredLetter
from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.monitor.look import Json
from nsqkit.nsq.options import connection_options
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.policy.names import dead_topic, retry_topic
from nsqkit.policy.redaction import redact
from nsqkit.settings.settings import Settings
from nsqkit.telemetry import logs
from nsqkit.telemetry.metrics import Labels

_MOST: Final = 5
_MOST_CHARACTERS: Final = 300


class Letters:
    """The store of this worker, which is opened for each request: `nsqkit dead` may create or replace it.

    Args:
        settings: Returns the settings with the path of the store and the addresses of nsqd.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._lock = asyncio.Lock()  # a store is for one thread at a time, and two clicks are one replay

    async def newest(self, labels: Labels) -> Json:
        """Return how many dead letters of a handler the store has, and the newest 5, as JSON.

        Args:
            labels: Topic, channel and name of the handler.

        Returns:
            The store's path, None if there is no store; the number; the letters without their bodies, and
            without what looks like a secret; and why the store cannot be read, empty if it can.
        """
        path = self._settings().dead_store
        async with self._lock:
            try:
                return await asyncio.to_thread(_read, path, _of(labels))
            except NsqkitError as error:
                return _answer(path, problem=redact(str(error)))

    async def replay(self, labels: Labels, number: int, *, remote: str) -> None:
        """Publish a dead letter again for its handler, mark it as replayed, and log who asked for it.

        Args:
            labels: Topic, channel and name of the handler.
            number: Its number in the store.
            remote: IP address of the one who asks.

        Raises:
            SettingsError: If there is no store, if it has no such dead letter of this handler, or if that was
                replayed before.
            ReplayError: If nsqd does not confirm it.
            DeadLetterStoreError: If the store cannot be read.
        """
        settings = self._settings()
        async with self._lock:
            store = await asyncio.to_thread(_fresh, settings.dead_store, _of(labels, number), number)
            publishers = PublisherPool(
                connection_options(settings), publish_timeout_s=settings.publish_timeout_s
            )
            try:
                await Replay(store, settings, publishers).run([number], stop=asyncio.Event())
            finally:
                await publishers.close()
                store.close()
        topic, channel, name = labels
        logs.get_logger().info(
            "dead_letter_replayed",
            dead_letter=number,
            handler=name,
            target=retry_topic(topic, channel),
            remote=remote,
        )


def _of(labels: Labels, *ids: int) -> Filters:
    """Return what selects the dead letters of a handler: their topic, since a record can name any handler."""
    topic, channel, _ = labels
    return Filters((Condition("dead_topic", dead_topic(topic, channel), is_whole=True),), ids=ids)


def _read(path: str, filters: Filters) -> Json:
    if not Path(path).exists():
        return _answer(None)
    with Store(Path(path)) as store:
        letters = [_shown(each) for each in store.find(filters, limit=_MOST)]
        return _answer(path, letters, store.count(filters))


def _fresh(path: str, filters: Filters, number: int) -> Store:
    """Return the open store, after a look whether the dead letter may be replayed."""
    store = Store(Path(path))
    try:
        _check(next(store.find(filters), None), number)
    except BaseException:
        store.close()
        raise
    return store


def _check(found: StoredLetter | None, number: int) -> None:
    if found is None:
        raise SettingsError(f"the store has no dead letter {number} of this handler: reload the page")
    if found.replays:
        raise SettingsError(
            f"dead letter {number} was replayed before: `nsqkit dead replay {number} --again` repeats it"
        )


def _shown(stored: StoredLetter) -> Json:
    letter = stored.letter
    return {
        "id": stored.id,
        "at": letter.dead_at,
        "reason": letter.reason,
        "error": letter.error_type,
        "text": redact(letter.detail, limit=_MOST_CHARACTERS),
        "message_id": letter.message_id,
        "attempts": letter.attempts,
        "replays": stored.replays,
    }


def _answer(path: str | None, letters: list[Json] | None = None, count: int = 0, problem: str = "") -> Json:
    return {"store": path, "letters": letters or [], "count": count, "problem": problem}
