"""Engines: connections to one database, for the event loop and for threads; how SQLite is set up."""

import asyncio
import math
from collections.abc import Mapping
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from nsqkit.sql.pools import LoopPool, PlainPool
from nsqkit.sql.urls import DatabaseUrl

POOL_WAIT_S: Final = 30.0
"""Longest wait for a free connection of the pool, in seconds."""
READS_ONLY: Final = "nsqkit_reads_only"
"""Execution option of a connection that writes nothing, and so needs no write lock of SQLite."""
RECYCLE_S: Final = 300
"""Age at which a connection is replaced before its next use, in seconds: a firewall may have ended it."""
LOCK_STEP_S: Final = 0.5
"""Longest wait for SQLite's write lock in one call, in seconds; a cancelled task waits for the call."""
_BUSY: Final = 5  # SQLITE_BUSY
_LOCK_NOT_AVAILABLE: Final = "55P03"


class Engines:
    """The engines of one database; they connect at their first use.

    Args:
        url: URL of the database.
        pool_size: Connections of each engine to PostgreSQL; 1 or more. SQLite gets one of each: it has one
            writer at a time.
        lock_timeout_s: Longest wait for SQLite's write lock, in seconds.

    Attributes:
        on_loop: For the event loop.
        plain: For threads.
    """

    def __init__(self, url: DatabaseUrl, *, pool_size: int, lock_timeout_s: float) -> None:
        is_sqlite = url.plain.get_backend_name() == "sqlite"
        options: dict[str, Any] = {
            "pool_size": 1 if is_sqlite else pool_size,
            "max_overflow": 0,
            "pool_timeout": POOL_WAIT_S,
        }
        if not is_sqlite:
            options["pool_recycle"] = RECYCLE_S
            options["connect_args"] = {"prepare_threshold": None}  # poolers may not keep them (ADR 0057)
        self.on_loop: AsyncEngine = create_async_engine(url.on_loop, poolclass=LoopPool, **options)
        self.plain: Engine = create_engine(url.plain, poolclass=PlainPool, **options)
        for engine in (self.on_loop.sync_engine, self.plain):
            prepare(engine, lock_timeout_s=lock_timeout_s)
        self._stopping: set[asyncio.Future[Any]] = set()
        if is_sqlite:
            self.on_loop.dialect.do_terminate = self._stop  # type: ignore[method-assign,assignment]

    @property
    def pools(self) -> Mapping[str, PlainPool]:
        """The pool of each kind of handler, ``async`` and ``plain``."""
        engines = {"async": self.on_loop.sync_engine, "plain": self.plain}
        return {kind: cast("PlainPool", engine.pool) for kind, engine in engines.items()}

    async def close(self) -> None:
        """Close the connections that are not in use."""
        await self.on_loop.dispose()
        self.plain.dispose()
        if self._stopping:
            await asyncio.wait(self._stopping)

    def _stop(self, connection: Any) -> None:
        """Let the thread of a connection to SQLite end, after its call, and close the connection.

        SQLAlchemy would start a task for this, which never ends if the caller is cancelled again: then it
        waits for the thread to end once more.
        """
        stopped = connection.driver_connection.stop()
        if stopped is not None:
            self._stopping.add(stopped)
            stopped.add_done_callback(self._stopping.discard)


def prepare(engine: Engine, *, lock_timeout_s: float) -> None:
    """Let transactions on SQLite take the write lock when they begin; do nothing on PostgreSQL.

    A transaction that takes it at its first write fails at once if another one has written in the meantime,
    however long the timeout is. It waits for the lock in steps, since nothing interrupts SQLite in such a
    wait: a cancelled task would keep its thread and its connection until the timeout.

    Args:
        engine: The engine, before its first connection.
        lock_timeout_s: Longest wait for the lock, in seconds.
    """
    if engine.dialect.name != "sqlite":
        return

    steps = max(1, math.ceil(lock_timeout_s / LOCK_STEP_S))

    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction itself
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(lock_timeout_s * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA busy_timeout = {round(lock_timeout_s * 1000 / steps)}")
        cursor.close()

    def begins(connection: Connection) -> None:
        if connection.get_execution_options().get(READS_ONLY, False):
            connection.exec_driver_sql("BEGIN")
        else:
            _take_write_lock(connection, steps)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begins)


def _take_write_lock(connection: Connection, steps: int) -> None:
    for left in reversed(range(steps)):
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except DBAPIError as error:
            if not left or not is_lock_timeout(error):
                raise
        else:
            return


def is_lock_timeout(error: DBAPIError) -> bool:
    """Return whether a statement failed because another transaction kept a lock for too long."""
    cause = error.orig
    busy: int = getattr(cause, "sqlite_errorcode", 0)
    return busy & 0xFF == _BUSY or getattr(cause, "sqlstate", None) == _LOCK_NOT_AVAILABLE
