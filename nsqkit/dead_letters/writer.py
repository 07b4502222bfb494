"""Writer: messages into the store, in batches; each message is finished only after it is on the disk."""

import asyncio
from collections.abc import Sequence
from typing import Any

from nsqkit.dead_letters.parse import parse_letter, raw_letter
from nsqkit.dead_letters.store import Store
from nsqkit.errors import DeadLetterStoreError
from nsqkit.nsq.message import Message

_BATCH = 500


class StoreWriter:
    """Stores the messages that it receives, all that are waiting at once.

    Args:
        store: The store to write to.

    Attributes:
        stored: Dead letters that it added to the store.
        known: Redeliveries of dead letters that the store had already.
    """

    def __init__(self, store: Store) -> None:
        self.stored = 0
        self.known = 0
        self._store = store
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        self._is_stopping = asyncio.Event()

    def put(self, messages: Sequence[Message]) -> None:
        """Accept messages of a ``.dead`` topic, to be stored soon."""
        for message in messages:
            self._arrived.put_nowait(message)

    def stop(self) -> None:
        """Let :meth:`run` return once all messages so far are stored."""
        self._is_stopping.set()

    def give_back(self) -> None:
        """Requeue the messages that are not stored."""
        while not self._arrived.empty():
            self._arrived.get_nowait().requeue(0.0)

    async def run(self) -> None:
        """Store messages until it is stopped.

        Raises:
            DeadLetterStoreError: If the store fails; messages that it did not store are requeued.
        """
        stopping = asyncio.create_task(self._is_stopping.wait())
        try:
            while batch := await self._batch(stopping):
                await self._add(batch)
        finally:
            stopping.cancel()

    async def _batch(self, stopping: asyncio.Task[Any]) -> list[Message]:
        """Wait for messages; return none if it is stopping and none are left."""
        batch: list[Message] = []
        if self._arrived.empty():
            arriving = asyncio.create_task(self._arrived.get())
            await asyncio.wait({arriving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                arriving.cancel()
                return []
            batch.append(arriving.result())
        while len(batch) < _BATCH and not self._arrived.empty():
            batch.append(self._arrived.get_nowait())
        return batch

    async def _add(self, batch: list[Message]) -> None:
        try:
            stored = await asyncio.to_thread(self._stored, batch)
        except BaseException:
            for message in batch:
                message.requeue(0.0)
            raise
        self.stored += stored
        self.known += len(batch) - stored
        for message in batch:
            message.finish()

    def _stored(self, batch: Sequence[Message]) -> int:
        """Store messages and return how many were new. One that cannot be read is stored as bytes."""
        try:
            return self._store.add([parse_letter(each) for each in batch])
        except DeadLetterStoreError:
            raise
        except Exception:  # noqa: BLE001 - whatever its bytes have caused, the others must not wait for it
            if len(batch) == 1:
                return self._store.add([raw_letter(batch[0])])
            return sum(self._stored([each]) for each in batch)
