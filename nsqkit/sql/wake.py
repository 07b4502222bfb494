"""Wake: hears the commits of other processes by LISTEN and NOTIFY, so that a relay sweeps before its poll."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from nsqkit.background import Background
from nsqkit.errors import SettingsError
from nsqkit.policy.redaction import describe
from nsqkit.program import is_set_within
from nsqkit.sql.urls import DatabaseUrl

if TYPE_CHECKING:
    from psycopg import AsyncConnection

HEARD_WITHIN_S: Final = 5.0
"""Longest wait at the start for a notification of its own, in seconds."""


@asynccontextmanager
async def woken_by_commits(url: DatabaseUrl, name: str, log: Any) -> AsyncIterator[asyncio.Event]:
    """Listen on a connection of its own, and yield an event that each commit with events sets.

    If the connection is lost later, that is logged, and the relay polls as without it.

    Args:
        url: URL of the database.
        name: Its name, for errors and the log.
        log: structlog logger.

    Raises:
        SettingsError: If the database is no PostgreSQL, or if a notification is not heard, as behind a pooler
            in transaction mode.
        psycopg.OperationalError: If the database cannot be reached.
    """
    if url.on_loop.get_backend_name() != "postgresql":
        raise SettingsError(f"outbox_notify: the database {name!r} is no PostgreSQL; leave it out")
    from psycopg import AsyncConnection  # noqa: PLC0415 - SQLite does without it

    address = url.on_loop.set(drivername="postgresql").render_as_string(hide_password=False)
    woken = asyncio.Event()
    async with await AsyncConnection.connect(address, autocommit=True, prepare_threshold=None) as connection:
        await connection.execute("LISTEN nsqkit_outbox")
        hearing = Background(log).start(_hear(connection, name, woken, log), f"notifications of {name}")
        try:
            async with await AsyncConnection.connect(address, autocommit=True) as another:
                await another.execute("NOTIFY nsqkit_outbox")
            if not await is_set_within(woken, HEARD_WITHIN_S):
                raise SettingsError(
                    f"outbox_notify: the database {name!r} does not send notifications to this connection. "
                    "A pooler in transaction mode, such as pgbouncer, keeps them: give the relay the URL of "
                    "PostgreSQL itself, or leave outbox_notify out"
                )
            yield woken
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                await hearing


async def _hear(connection: "AsyncConnection[Any]", name: str, woken: asyncio.Event, log: Any) -> None:
    from psycopg import OperationalError  # noqa: PLC0415 - SQLite does without it

    try:
        async for _ in connection.notifies():
            woken.set()
    except OperationalError as error:
        log.warning("outbox_not_heard", database=name, reason=describe(error))
