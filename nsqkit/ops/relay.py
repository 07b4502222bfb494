"""Relay: runs the relay of one outbox as a process, with an admin port if it is asked for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from nsqkit.admin.access import Access
from nsqkit.admin.server import AdminServer
from nsqkit.policy.address import join_address
from nsqkit.program import OnSecondSignal, stop_event
from nsqkit.publishing.publisher import Publisher
from nsqkit.settings.settings import Settings
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.relay import Relay, Swept
from nsqkit.sql.urls import DatabaseUrl
from nsqkit.sql.wake import woken_by_commits
from nsqkit.telemetry import logs
from nsqkit.telemetry.metrics import Metrics


def relay(
    name: str,
    settings: Settings,
    *,
    admin_port: int = 0,
    exit_when_idle: bool = False,
    on_second_signal: OnSecondSignal = None,
) -> Swept:
    """Publish the events of an outbox until SIGTERM or SIGINT; runs its own event loop.

    Args:
        name: Name of the database.
        settings: Its URL, the nsqd to publish to, and ``admin_host`` and the like for the admin port.
        admin_port: Port of metrics and health; 0 for none.
        exit_when_idle: Whether to end when no event waits, apart from those that are claimed.
        on_second_signal: See :func:`~nsqkit.program.stop_event`.

    Returns:
        What was done.

    Raises:
        SettingsError: If there is no nsqd, the URL is missing or wrong, or the port cannot be used.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """

    async def run() -> Swept:
        stop, log = stop_event(on_second_signal), logs.get_logger()
        async with (
            Publisher(settings=settings) as publisher,
            OpenDatabase.opened(name, settings) as database,
            _woken(name, settings, log) as woken,
        ):
            found = Relay(database, publisher, lease_s=settings.outbox_lease_s, log=log, woken=woken)
            async with served(found, database, settings, admin_port, log):
                await found.run(stop, exit_when_idle=exit_when_idle)
        return found.swept

    return asyncio.run(run())


def _woken(name: str, settings: Settings, log: Any) -> AbstractAsyncContextManager[asyncio.Event | None]:
    if not settings.outbox_notify:
        return nullcontext()
    return woken_by_commits(DatabaseUrl.read(name, settings), name, log)


@asynccontextmanager
async def served(
    relay: Relay, database: OpenDatabase, settings: Settings, port: int, log: Any
) -> AsyncIterator[None]:
    """Serve metrics and health while the relay runs.

    Args:
        relay: The relay.
        database: Its database.
        settings: ``admin_host`` and the like.
        port: Port to listen on; 0 for none.
        log: structlog logger.

    Raises:
        SettingsError: If the port cannot be used.
    """
    if not port:
        yield
        return
    metrics = Metrics()
    metrics.add_source(database.figures)
    host = settings.admin_host
    server = AdminServer(metrics, relay, host, port, access=Access(settings, log))
    try:
        log.info("admin_listening", url=f"http://{join_address(host, await server.start())}/")
        yield
    finally:
        await server.stop()
