"""Fake brokers: a source and a target of routes in memory, which fail when a test says so."""

import asyncio
from collections.abc import Iterable, Sequence

from nsqkit.bridge.record import Record
from nsqkit.bridge.route import MAX_BATCH


class FakeSource:
    """A source whose records a test puts in.

    Args:
        records: The first records.

    Attributes:
        confirmed: The records that are done, in their order.
        opening: The errors that the next calls of ``open`` raise.
        reading: The errors that the next calls of ``read`` raise.
        waiting: What ``lag`` answers.
        is_paused: Whether it reads nothing.
        is_closed: Whether it was closed.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.confirmed: list[Record] = []
        self.opening: list[Exception] = []
        self.reading: list[Exception] = []
        self.waiting: int | None = None
        self.is_paused = self.is_closed = False
        self.problems: tuple[str, ...] = ()
        self._records = list(records)
        self._changed = asyncio.Condition()

    async def open(self) -> None:
        if self.opening:
            raise self.opening.pop(0)

    async def put(self, *records: Record) -> None:
        async with self._changed:
            self._records += records
            self._changed.notify_all()

    async def read(self) -> Sequence[Record]:
        if self.reading:
            raise self.reading.pop(0)
        async with self._changed:
            await self._changed.wait_for(lambda: self._records and not self.is_paused)
            batch, self._records = self._records[:MAX_BATCH], self._records[MAX_BATCH:]
            return batch

    async def confirm(self, records: Sequence[Record]) -> None:
        async with self._changed:
            self.confirmed += records
            self._changed.notify_all()

    async def wait_confirmed(self, count: int) -> list[Record]:
        """Wait until *count* records are done."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.confirmed) >= count)
        return self.confirmed

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False
        self._notifying = asyncio.create_task(self.put())

    async def lag(self) -> int | None:
        return self.waiting

    async def close(self) -> None:
        self.is_closed = True


class FakeTarget:
    """A target that keeps what it is sent.

    Attributes:
        sent: The records that it has confirmed.
        opening: The errors that the next calls of ``open`` raise.
        failures: The errors that the next calls of ``send`` raise.
        is_closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.opening: list[Exception] = []
        self.failures: list[Exception] = []
        self.is_closed = False
        self.problems: tuple[str, ...] = ()
        self._changed = asyncio.Condition()

    async def open(self) -> None:
        if self.opening:
            raise self.opening.pop(0)

    async def send(self, record: Record) -> None:
        if self.failures:
            raise self.failures.pop(0)
        async with self._changed:
            self.sent.append(record)
            self._changed.notify_all()

    async def wait_sent(self, count: int) -> list[Record]:
        """Wait until *count* records are confirmed."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.sent) >= count)
        return self.sent

    async def close(self) -> None:
        self.is_closed = True
