"""Confirmations: marks events of the outbox as sent once nsqd has confirmed them, many in one statement."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from nsqkit.background import Background
from nsqkit.policy.redaction import describe
from nsqkit.program import is_set_within
from nsqkit.sql import outbox

GATHER_S: Final = 0.5
"""Seconds for which confirmed events gather: a transaction for each one costs more than its handler's."""


class Confirmations:
    """Marks events as sent, in the background. One that is not marked is published a second time by a relay.

    Args:
        database: Name of the database, for the log.
        engine: Connections to it.
        now_s: Wall clock, seconds since 1970 UTC.
        log: structlog logger.
    """

    def __init__(self, database: str, engine: AsyncEngine, *, now_s: Callable[[], float], log: Any) -> None:
        self._database = database
        self._engine = engine
        self._now_s = now_s
        self._log = log
        self._background = Background(log)
        self._ids: list[int] = []
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, event_id: int) -> None:
        """Mark an event as sent soon, together with others; called on the event loop.

        Args:
            event_id: An event that nsqd has confirmed.
        """
        self._ids.append(event_id)
        if self._task is None or self._task.done():
            self._task = self._background.start(self._mark(), f"outbox of database {self._database}")

    async def close(self) -> None:
        """Mark all events that were added, and wait for it."""
        self._closing.set()
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def _mark(self) -> None:
        while self._ids:
            await is_set_within(self._closing, GATHER_S)
            ids, self._ids = self._ids[: outbox.MOST_IDS], self._ids[outbox.MOST_IDS :]
            try:
                async with self._engine.begin() as connection:
                    await connection.run_sync(outbox.mark_sent, ids, now_s=self._now_s())
            except SQLAlchemyError as error:
                self._log.warning(
                    "outbox_not_marked", database=self._database, count=len(ids), reason=describe(error)
                )
