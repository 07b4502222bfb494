"""Open database: the connections of one worker to one database."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection

from nsqkit.handler.wall_clock import MACHINE, WallClock
from nsqkit.settings.settings import Settings
from nsqkit.sql import pools
from nsqkit.sql.backlog import Backlog
from nsqkit.sql.cleaning import Cleaner
from nsqkit.sql.confirmations import Confirmations
from nsqkit.sql.engines import READS_ONLY, Engines
from nsqkit.sql.schema import require_current
from nsqkit.sql.server_clock import ServerClock
from nsqkit.sql.urls import DatabaseUrl
from nsqkit.telemetry import logs


class OpenDatabase:
    """One database, open for one worker.

    Args:
        name: Name of the database.
        settings: Its URL, and the limits.
        clock: Clock of this machine.

    Attributes:
        engines: Connections to the database.
        lock_timeout_s: Longest wait of a transaction for a lock, in seconds.
        outbox_lease_s: Seconds for which only this process publishes the events that it has written.
        confirmations: Marks events of the outbox as sent.
        saga_changes: Number of instances that came into a status, by saga and status.
        clock: The clock of the database's server.
        now_s: Its time, seconds since 1970 UTC; every statement has its time from it.

    Raises:
        SettingsError: If the URL is missing, or names no supported database.
    """

    def __init__(self, name: str, settings: Settings, *, clock: WallClock = MACHINE) -> None:
        log = logs.get_logger()
        self.name = name
        self.clock = ServerClock(clock)
        self.now_s = now_s = self.clock.now_s
        self.lock_timeout_s = settings.lock_timeout_s
        self.engines = Engines(
            DatabaseUrl.read(name, settings),
            pool_size=settings.sql_pool_size,
            lock_timeout_s=settings.lock_timeout_s,
        )
        self._cleaner = Cleaner(
            name,
            self.engines.on_loop,
            inbox_retention_s=settings.inbox_retention_s,
            outbox_retention_s=settings.outbox_retention_s,
            saga_retention_s=settings.saga_retention_s,
            now_s=now_s,
            log=log,
        )
        self._backlog = Backlog(name, self.engines.on_loop, now_s=now_s, log=log)
        self.saga_changes: Counter[tuple[str, str]] = Counter()
        self.outbox_lease_s = settings.outbox_lease_s
        self.confirmations = Confirmations(name, self.engines.on_loop, now_s=now_s, log=log)

    def figures(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        """Yield its pools, its outbox, and what sagas did, as metrics have them."""
        yield from pools.figures(self.name, self.engines.pools)
        yield from self._backlog.figures()
        for (saga, status), count in self.saga_changes.items():
            yield "nsqkit_saga_changes_total", (self.name, saga, status), count

    async def measure_clock(self) -> None:
        """Measure the clock of the server again: the clocks of two machines drift apart."""
        async with self._reading() as connection:
            await connection.run_sync(self.clock.measure)

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncConnection]:
        async with self.engines.on_loop.connect() as connection:
            yield await connection.execution_options(**{READS_ONLY: True})

    def committed(self) -> None:
        """Do what follows a commit of a message; called in any thread."""
        self._cleaner.committed()

    @classmethod
    @asynccontextmanager
    async def opened(
        cls, name: str, settings: Settings, *, clock: WallClock = MACHINE
    ) -> AsyncIterator[Self]:
        """Connect to a database, and close its connections afterwards.

        Args:
            name: Name of the database.
            settings: Its URL, and the limits.
            clock: Clock of this machine.

        Raises:
            SettingsError: If the URL is missing, or names no supported database.
            SchemaError: If the schema of the database is not that of this nsqkit.
        """
        found = cls(name, settings, clock=clock)
        try:
            async with found._reading() as connection:
                await connection.run_sync(require_current, name)
                await connection.run_sync(found.clock.measure)
            yield found
        finally:
            await found.confirmations.close()
            await found._cleaner.close()
            await found._backlog.close()
            await found.engines.close()
