"""Cleaning: deletes old rows of one database now and then, a few at a time."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, delete, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from nsqkit.background import Background
from nsqkit.policy.redaction import describe
from nsqkit.policy.saga_terms import Status
from nsqkit.sql import inbox, outbox
from nsqkit.sql.tables import SAGA

EVERY_S: Final = 60.0
"""Seconds from one cleaning to the next."""
MOST_ROWS: Final = 500
"""Most rows that one transaction deletes: it holds locks, and on SQLite the only one."""


class Cleaner:
    """Deletes rows that are older than their retention. It follows commits: an idle worker cleans nothing.

    Args:
        database: Name of the database, for the log.
        engine: Connections to it.
        inbox_retention_s: Age of handled events to forget, in seconds.
        outbox_retention_s: Time since their publishing of events to forget, in seconds.
        saga_retention_s: Time since their end of sagas to forget, in seconds.
        now_s: Wall clock, seconds since 1970 UTC.
        log: structlog logger.
    """

    def __init__(
        self,
        database: str,
        engine: AsyncEngine,
        *,
        inbox_retention_s: float,
        outbox_retention_s: float,
        saga_retention_s: float,
        now_s: Callable[[], float],
        log: Any,
    ) -> None:
        self._database = database
        self._engine = engine
        self._inbox_retention_s = inbox_retention_s
        self._outbox_retention_s = outbox_retention_s
        self._saga_retention_s = saga_retention_s
        self._now_s = now_s
        self._log = log
        self._background = Background(log)
        self._loop = asyncio.get_running_loop()
        self._due_s = now_s() + EVERY_S
        self._task: asyncio.Task[None] | None = None

    def committed(self) -> None:
        """Clean if it is time to; called after a commit, in any thread."""
        now_s = self._now_s()
        if now_s >= self._due_s:
            self._due_s = now_s + EVERY_S
            self._loop.call_soon_threadsafe(self._start)

    async def close(self) -> None:
        """End a cleaning that runs."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = self._background.start(self.clean(), f"cleaning of database {self._database}")

    async def clean(self) -> None:
        """Delete all rows that are old, in small transactions; a failure is logged, and tried again later."""
        now_s = self._now_s()
        try:
            for forget, retention_s in (
                (inbox.forget, self._inbox_retention_s),
                (outbox.forget, self._outbox_retention_s),
                (forget_sagas, self._saga_retention_s),
            ):
                while await self._delete_some(forget, now_s - retention_s) == MOST_ROWS:
                    pass
        except SQLAlchemyError as error:
            self._log.warning("cleaning_failed", database=self._database, reason=describe(error))

    async def _delete_some(self, forget: Callable[..., int], before_s: float) -> int:
        async with self._engine.begin() as connection:
            return await connection.run_sync(forget, before_s=before_s, most=MOST_ROWS)


def forget_sagas(connection: Connection, *, before_s: float, most: int) -> int:
    """Delete sagas that ended before a time, and return their number. One that needs attention has not ended.

    Args:
        connection: A connection in a transaction.
        before_s: Seconds since 1970 UTC.
        most: Most rows to delete; 1 or more.
    """
    key, has_ended = (
        tuple_(SAGA.c.saga, SAGA.c.key),
        SAGA.c.status.in_([Status.COMPLETED, Status.COMPENSATED]),
    )
    old = select(SAGA.c.saga, SAGA.c.key).where(SAGA.c.changed_at < before_s, has_ended).limit(most)
    return connection.execute(delete(SAGA).where(key.in_(old))).rowcount
