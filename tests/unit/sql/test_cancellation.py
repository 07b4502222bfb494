"""Cancellation: a message that is cancelled anywhere in its transaction leaves no connection behind."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from nsqkit import Context, Finish, Handler, Outcome, Publisher, Settings, Worker, event
from nsqkit.devbroker import DevBroker
from nsqkit.runtime.scope import Opening, Scope
from nsqkit.sql import Database, engines
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.transaction import Transaction
from tests.waiting import PATIENCE_S, until

team = Database("team")
INSERT = sa.text("INSERT INTO effects VALUES (:id)")
BACKENDS = (
    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
TIMES = 1000


@pytest.fixture
def effects(settings: Settings, outside: sa.Engine) -> sa.Engine:
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effects (id TEXT PRIMARY KEY)")
    return outside


async def handle(number: int, ctx: Context) -> Outcome:
    """Do what the handler of a message with once= does: begin, write, and wait."""
    session: Any = ctx.resource(team.session)
    key = InboxKey("t", "c", "Handler", "web", str(number))
    await session.run_sync(lambda found: found.info[Transaction].begin(key, ctx))
    await session.execute(INSERT, {"id": str(number)})
    await asyncio.sleep(0)  # the handler waits for something else
    return Finish()


async def turns_of(call: asyncio.Future[Any]) -> int:
    """Return after how many turns of the event loop a call has ended."""
    turns = 0
    while not call.done():
        await asyncio.sleep(0)  # one turn
        turns += 1
    return turns


async def has_returned_after(turns: int, call: asyncio.Future[Any]) -> bool:
    """Cancel a call after some turns of the event loop; return whether it has returned nevertheless.

    It may also fail: PostgreSQL takes no more connections until those that were cancelled are closed.
    """
    for _ in range(turns):
        await asyncio.sleep(0)  # one turn
    call.cancel()
    await asyncio.wait((call,))
    return not call.cancelled() and call.exception() is None


def texts(outside: sa.Engine, query: str) -> set[Any]:
    with outside.connect() as connection:
        return set(connection.execute(sa.text(query)).scalars())


def backends(outside: sa.Engine) -> set[Any]:
    gc.collect()  # psycopg closes a connection whose opening was cancelled when it is collected
    return texts(outside, BACKENDS)


@pytest.mark.slow
async def test_a_thousand_cancellations_leave_no_connection_and_no_half_transaction(
    settings: Settings, effects: sa.Engine
) -> None:
    """A commit that is cancelled may have happened: then the next delivery of the event finds its row."""
    async with OpenDatabase.opened("team", settings) as database:
        handled = Scope([Opening(team.session, {"database": database})]).around(handle)
        pool: Any = database.engines.pools["async"]

        def begin(number: int) -> asyncio.Future[Any]:
            return asyncio.ensure_future(handled(number, Context()))

        most = await turns_of(begin(TIMES))
        ended: set[str] = set()
        for first in range(0, TIMES, pool.size()):
            calls = {str(number): begin(number) for number in range(first, first + pool.size())}
            turns = first // pool.size() * 7 % most
            have = await asyncio.gather(*[has_returned_after(turns, call) for call in calls.values()])
            ended |= {number for number, has in zip(calls, have, strict=True) if has}
            assert (pool.checkedout(), pool.waiting) == (0, 0)
            calls.clear()  # a call that has failed keeps its frames, and they keep a connection
    if effects.dialect.name == "postgresql":
        await until(lambda: backends(effects) == {0})
    kept = texts(effects, "SELECT id FROM effects")
    assert kept == texts(effects, "SELECT event_id FROM nsqkit_inbox")
    assert ended <= kept
    assert len(ended) < TIMES


@event("crate.opened", version=1, topic="sql-crates")
class CrateOpened(msgspec.Struct, frozen=True):
    crate_id: str


inside = asyncio.Event()
"""Set while a handler is in its transaction; it stays there while ``lingers`` has an item."""
lingers: list[bool] = []


class OpenCrate(Handler[CrateOpened], channel="open", once=team):
    async def handle(self, event: CrateOpened, ctx: Context) -> None:
        await ctx.resource(team.session).execute(INSERT, {"id": event.crate_id})
        inside.set()
        if lingers:
            await asyncio.Event().wait()


async def test_a_drain_that_cancels_a_handler_in_its_transaction_leaves_no_connection_behind(
    settings: Settings, effects: sa.Engine, broker: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use: list[tuple[int, int]] = []
    close = engines.Engines.close

    async def noted(found: engines.Engines) -> None:
        in_use.extend((pool.checkedout(), pool.waiting) for pool in found.pools.values())
        await close(found)

    monkeypatch.setattr(engines.Engines, "close", noted)
    monkeypatch.setitem(globals(), "inside", asyncio.Event())
    monkeypatch.setitem(globals(), "lingers", [True])
    options = replace(settings, nsqd=(broker.tcp_address,), admin_port=0, grace_s=0.0)
    async with Worker([OpenCrate], settings=options) as worker:
        await worker.wait_ready()
        async with Publisher(settings=options) as publisher:
            await publisher.publish(CrateOpened("c1"))
        async with asyncio.timeout(PATIENCE_S):
            await inside.wait()
    assert in_use == [(0, 0), (0, 0)]
    assert (
        texts(effects, "SELECT id FROM effects")
        == texts(effects, "SELECT event_id FROM nsqkit_inbox")
        == set()
    )
    if effects.dialect.name == "postgresql":
        await until(lambda: backends(effects) == {0})
    lingers.clear()
    async with Worker([OpenCrate], settings=options):  # nsqd has the message again, at once
        await until(lambda: texts(effects, "SELECT id FROM effects") == {"c1"})


@pytest.fixture
def locked(tmp_path: Path) -> Settings:
    """Settings of a worker with a database on SQLite, whose transactions wait for its lock for minutes."""
    found = Settings(app={"team_url": f"sqlite:///{tmp_path}/team.sqlite"}, lock_timeout_s=5 * PATIENCE_S)
    team.upgrade(found)
    return found


@asynccontextmanager
async def locking(settings: Settings) -> AsyncIterator[sa.Connection]:
    """Keep the write lock, as somebody else's transaction does."""
    engine = sa.create_engine(settings.app_text("team_url", ""), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
    engine.dispose()


@asynccontextmanager
async def in_a_session(settings: Settings) -> AsyncIterator[Callable[[], Any]]:
    async with team.sessions(settings) as sessions:

        async def write() -> None:
            async with sessions.begin() as session:
                await session.execute(sa.text("SELECT 1"))

        yield write


@asynccontextmanager
async def in_a_handler(settings: Settings) -> AsyncIterator[Callable[[], Any]]:
    async with OpenDatabase.opened("team", settings) as database:
        handled = Scope([Opening(team.session, {"database": database})]).around(handle)
        yield lambda: handled(0, Context())


async def waiting(write: Callable[[], Any]) -> asyncio.Future[Any]:
    """Return a call that waits for the write lock."""
    call: asyncio.Future[Any] = asyncio.ensure_future(write())
    await asyncio.wait((call,), timeout=0.05)  # nothing shows that the thread of SQLite waits
    return call


@pytest.mark.parametrize("times", [1, 2], ids=["cancelled", "cancelled twice"])
@pytest.mark.parametrize("opened", [in_a_session, in_a_handler])
async def test_a_call_that_waits_for_the_write_lock_ends_with_its_cancellation(
    locked: Settings, opened: Any, times: int
) -> None:
    """No task or thread is left behind, for which the end of the event loop would wait."""
    threads = set(threading.enumerate())
    async with locking(locked):
        async with opened(locked) as write:
            before = asyncio.all_tasks()
            call = await waiting(write)
            for _ in range(times):
                call.cancel()
                await asyncio.sleep(0)  # one turn
            await asyncio.wait((call,))
            assert call.cancelled()
            assert asyncio.all_tasks() == before
        await until(lambda: set(threading.enumerate()) == threads)


async def test_a_transaction_waits_for_the_write_lock_in_steps(
    locked: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "LOCK_STEP_S", 0.01)
    begun: list[str] = []
    async with locking(locked) as other, OpenDatabase.opened("team", locked) as database:

        @sa.event.listens_for(database.engines.on_loop.sync_engine, "before_cursor_execute")
        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            begun.append(statement)

        async def write() -> None:
            async with database.engines.on_loop.begin() as connection:
                await connection.execute(sa.text("SELECT 1"))

        call = asyncio.ensure_future(write())
        await until(lambda: begun.count("BEGIN IMMEDIATE") > 3)
        other.exec_driver_sql("ROLLBACK")
        await call
