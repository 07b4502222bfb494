"""Backlog: how many events of an outbox are late, and by how long. It is measured when somebody asks."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from nsqkit.background import Background
from nsqkit.sql.engines import READS_ONLY
from nsqkit.sql.tables import OUTBOX

if TYPE_CHECKING:
    from nsqkit.sql.pools import PlainPool

AGAIN_S: Final = 15.0
"""Least seconds from one measurement to the next, however often somebody asks."""
_LONGEST_LEASE_S: Final = 3600.0  # what is claimed for longer is due later
_FAMILY: Final = "nsqkit_outbox"


@dataclass(frozen=True, slots=True)
class Late:
    """The events of an outbox that are due and not sent; those that are parked are not among them.

    Args:
        count: How many they are.
        oldest_s: By how many seconds the one that waits longest is late; 0 if there is none.
    """

    count: int
    oldest_s: float


class Backlog:
    """Measures the events that are late: each question is answered with the last measurement, and starts one.

    So a process that nobody asks measures nothing. Its figures are as old as the last scrape, or older if all
    connections were in use.

    Args:
        database: Name of the database.
        engine: Connections to it, in a pool of nsqkit's.
        now_s: The clock of its server, seconds since 1970 UTC.
        log: structlog logger.
    """

    def __init__(self, database: str, engine: AsyncEngine, *, now_s: Callable[[], float], log: Any) -> None:
        self._database = database
        self._engine = engine
        self._now_s = now_s
        self._background = Background(log)
        self._loop = asyncio.get_running_loop()
        self._late: Late | None = None
        self._measured_s = -math.inf
        self._task: asyncio.Task[None] | None = None

    def figures(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Yield the last measurement as metrics have it, nothing if it failed; called in any thread."""
        with suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(self._start)
        if (late := self._late) is not None:
            yield f"{_FAMILY}_waiting", (self._database,), late.count
            yield f"{_FAMILY}_oldest_age_seconds", (self._database,), late.oldest_s

    async def measure(self) -> None:
        """Measure now. After an error, nothing is known."""
        self._late = None
        with suppress(SQLAlchemyError):
            async with self._engine.connect() as connection:
                reading = await connection.execution_options(**{READS_ONLY: True})
                self._late = await reading.run_sync(late, now_s=self._now_s())

    async def close(self) -> None:
        """End a measurement that runs."""
        self._measured_s = math.inf
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _start(self) -> None:
        now_s, pool = self._loop.time(), cast("PlainPool", self._engine.pool)
        is_running = self._task is not None and not self._task.done()
        is_full = pool.checkedout() >= pool.size()  # handlers need the connection more
        if now_s >= self._measured_s + AGAIN_S and not is_running and not is_full:
            self._measured_s = now_s
            self._task = self._background.start(self.measure(), f"backlog of database {self._database}")


def late(connection: Connection, *, now_s: float) -> Late:
    """Return the events that are due and not sent.

    Args:
        connection: A connection to the database.
        now_s: The present time, seconds since 1970 UTC.
    """
    is_late = (
        OUTBOX.c.sent_at.is_(None)
        & OUTBOX.c.parked_at.is_(None)
        & (OUTBOX.c.claimed_until <= now_s + _LONGEST_LEASE_S)  # the index leaves out what is scheduled
        & (OUTBOX.c.due_at <= now_s)
    )
    count, oldest = connection.execute(select(func.count(), func.min(OUTBOX.c.due_at)).where(is_late)).one()
    return Late(count, 0.0 if oldest is None else now_s - oldest)
