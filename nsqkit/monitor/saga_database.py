"""Saga database: reads the sagas of one database in a thread, one read at a time; keeps the last answer."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from nsqkit.errors import NsqkitError
from nsqkit.handler.sagas import SagaOverview, SagaReader, SagaTimeline
from nsqkit.policy.redaction import describe, redact
from nsqkit.settings.settings import Settings

T = TypeVar("T")
ANSWER_S: Final = 1.5
"""Longest wait for a timeline, in seconds: a parent waits for 2 s for the answer of a child worker."""
_MOST_CHARACTERS: Final = 300


class SagaDatabase:
    """The sagas of one database.

    Args:
        reader: Reads it.
        sagas: The classes of the sagas.
        settings: The URL of the database.

    Attributes:
        overview: What was read last; None if nothing was read yet.
        problem: Why the last read has failed, in one line; empty if it has not.
    """

    def __init__(self, reader: SagaReader, sagas: Sequence[type[Any]], settings: Settings) -> None:
        self._reader = reader
        self._sagas = tuple(sagas)
        self._settings = settings
        self._thread: asyncio.Future[Any] | None = None
        self.overview: SagaOverview | None = None
        self.problem = ""

    @property
    def name(self) -> str:
        """Name of the database."""
        return self._reader.database

    async def read(self) -> None:
        """Read the overview; an error becomes the problem, and what was read before stays."""
        found = await self._in_thread(lambda: self._reader.overview(self._sagas, self._settings))
        if isinstance(found, SagaOverview):
            self.overview, self.problem = found, ""
        else:
            self.problem = _line(found)

    async def timeline(self, saga: str, key: str) -> SagaTimeline | str | None:
        """Return the timeline of an instance, None if there is none; or why it cannot be read, in one line.

        Args:
            saga: Name of the saga.
            key: Key of the instance.
        """
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self._in_thread(
                    lambda: self._reader.timeline(self._sagas, saga, key, self._settings)
                )
        except TimeoutError:
            return f"database {self.name} does not answer"
        return _line(found) if isinstance(found, Exception) else found

    async def _in_thread(self, work: Callable[[], T]) -> T | Exception:
        """Return what some work returns, or its error, once the thread before has ended.

        A caller that no longer waits leaves the thread behind, so that a database that hangs keeps one.
        """
        while self._thread is not None and not self._thread.done():
            await asyncio.wait({self._thread})
        self._thread = asyncio.ensure_future(asyncio.to_thread(_tried, work))
        found: T | Exception = await asyncio.shield(self._thread)
        return found


def _tried(work: Callable[[], T]) -> T | Exception:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - the page shows it, and the worker goes on
        return error


def _line(error: Exception) -> str:
    return redact(str(error), limit=_MOST_CHARACTERS) if isinstance(error, NsqkitError) else describe(error)
