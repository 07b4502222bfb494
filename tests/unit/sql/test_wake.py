"""Wake: a commit wakes a relay that listens, and a relay that would hear nothing does not start."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from nsqkit import Settings, SettingsError, event
from nsqkit.sql import outbox, wake
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.relay import Relay
from nsqkit.sql.urls import DatabaseUrl
from nsqkit.sql.wake import woken_by_commits
from tests.postgres import SERVERS, pooled
from tests.unit.sql.apart import apart
from tests.unit.sql.test_cleaning import Log
from tests.waiting import PATIENCE_S, until

ON_POSTGRESQL = pytest.mark.parametrize("url", SERVERS, indirect=True)


@event("bell.rung", version=1, topic="sql-wake")
class BellRung(msgspec.Struct, frozen=True):
    n: int = 0


class Sent:
    """Counts what a relay publishes."""

    def __init__(self) -> None:
        self.count = 0

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        self.count += 1


@pytest.fixture
def _notifies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NSQKIT_OUTBOX_NOTIFY", "true")
    outbox._notifies.cache_clear()
    yield
    outbox._notifies.cache_clear()


@apart
def ring(outside: sa.Engine, number: int) -> None:
    with Session(outside) as session:
        outbox.add(session, BellRung(number), source="web")
        session.commit()


@ON_POSTGRESQL
@pytest.mark.usefixtures("_notifies")
async def test_a_commit_wakes_a_relay_that_does_not_poll(
    settings: Settings, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsqkit.sql.relay.POLL_S", 2 * PATIENCE_S)
    stop, sent, log = asyncio.Event(), Sent(), Log()
    async with (
        OpenDatabase.opened("team", settings) as database,
        woken_by_commits(DatabaseUrl.read("team", settings), "team", log) as woken,
    ):
        relay = asyncio.create_task(Relay(database, sent, lease_s=30.0, log=log, woken=woken).run(stop))
        for number in (1, 2):
            ring(outside, number)
            await until(lambda: sent.count == number)  # noqa: B023 - awaited at once
        stop.set()
        await relay


@ON_POSTGRESQL
async def test_a_connection_that_is_lost_is_reported(settings: Settings, outside: sa.Engine) -> None:
    log = Log()
    async with woken_by_commits(DatabaseUrl.read("team", settings), "team", log):
        with outside.connect() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN nsqkit%%'"
            )
        await until(lambda: [name for name, _ in log.lines] == ["outbox_not_heard"])


async def test_a_pooler_that_keeps_notifications_is_named(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "HEARD_WITHIN_S", 0.5)
    with pooled(postgresql) as url:
        found = DatabaseUrl.read("team", Settings(app={"team_url": url}))
        with pytest.raises(SettingsError, match="A pooler in transaction mode"):
            async with woken_by_commits(found, "team", Log()):
                pass


async def test_sqlite_has_no_notifications() -> None:
    found = DatabaseUrl.read("team", Settings(app={"team_url": "sqlite:///team.sqlite"}))
    with pytest.raises(SettingsError, match="is no PostgreSQL"):
        async with woken_by_commits(found, "team", Log()):
            pass
