"""Pools: /metrics shows how many connections of a database are in use, and how many callers wait."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec

from nsqkit import Context, Handler, Settings, Worker, event
from nsqkit.sql import Database
from nsqkit.sql.open_database import OpenDatabase
from tests.waiting import until, until_blocking

team = Database("team")
NOBODY = "127.0.0.1:1"


@event("parcel.counted", version=1, topic="sql-pools")
class ParcelCounted(msgspec.Struct, frozen=True):
    parcel_id: str


class Pool(Handler[ParcelCounted], channel="pool", once=team):
    async def handle(self, event: ParcelCounted, ctx: Context) -> None:
        pass


class Apart(Handler[ParcelCounted], channel="apart"):
    async def handle(self, event: ParcelCounted, ctx: Context) -> None:
        pass


def used(database: OpenDatabase, kind: str) -> tuple[float, ...]:
    """Return size, connections in use and waiting callers of a pool."""
    return tuple(number for _, labels, number in database.figures() if labels == ("team", kind))


async def test_callers_on_the_event_loop_that_wait_are_counted(settings: Settings) -> None:
    async with OpenDatabase.opened("team", settings) as database:
        size, *idle = used(database, "async")
        assert idle == [0, 0]
        connect = database.engines.on_loop.connect
        taken = [await connect() for _ in range(int(size))]
        late, cancelled = (asyncio.ensure_future(connect().start()) for _ in range(2))
        await until(lambda: used(database, "async") == (size, size, 2))
        cancelled.cancel()
        await until(lambda: used(database, "async") == (size, size, 1))
        for each in taken:
            await each.close()
        await (await late).close()
        assert used(database, "async") == (size, 0, 0)


async def test_threads_that_wait_are_counted(settings: Settings) -> None:
    async with OpenDatabase.opened("team", settings) as database:
        size, *idle = used(database, "plain")
        assert idle == [0, 0]
        connect = database.engines.plain.connect
        taken = [await asyncio.to_thread(connect) for _ in range(int(size))]
        with ThreadPoolExecutor(1) as threads:
            late = threads.submit(connect)
            until_blocking(lambda: used(database, "plain") == (size, size, 1))
            for each in taken:
                each.close()
            late.result().close()
        assert used(database, "plain") == (size, 0, 0)


async def exposed(handler: type[Handler[ParcelCounted]], settings: Settings) -> list[str]:
    worker = Worker([handler], settings=replace(settings, nsqd=(NOBODY,), admin_port=0))
    await worker.start()
    try:
        text = b"".join(worker.metrics.exposition()).decode()
    finally:
        await worker.stop()
    return [line for line in text.splitlines() if line.startswith("nsqkit_database_pool_in_use")]


async def test_a_worker_shows_the_pools_of_its_databases(settings: Settings) -> None:
    assert await exposed(Pool, settings) == [
        f'nsqkit_database_pool_in_use{{database="team",kind="{kind}"}} 0' for kind in ("async", "plain")
    ]


async def test_a_worker_without_a_database_shows_none() -> None:
    assert await exposed(Apart, Settings()) == []
