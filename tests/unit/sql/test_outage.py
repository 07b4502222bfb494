"""Outage: a PostgreSQL that is away pauses its handlers, and costs their messages no attempt."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from nsqkit import Context, Handler, RetryPolicy, Settings, event
from nsqkit.errors import DatabaseAwayError
from nsqkit.sql import Database
from nsqkit.sql.outage import as_outage, is_away
from nsqkit.testing import Harness
from tests.postgres import SERVERS

team = Database("team")
ONCE = RetryPolicy(max_attempts=1)
acts: list[Callable[[Any], object]] = []
"""What the handlers do, one for each call; nothing if there is none left."""


@event("parcel.scanned", version=1, topic="sql-outage")
class ParcelScanned(msgspec.Struct, frozen=True):
    parcel_id: str


def act(session: Any) -> None:
    if acts:
        acts.pop(0)(session)


class Scan(Handler[ParcelScanned], channel="scan", once=team, retry=ONCE):
    async def handle(self, event: ParcelScanned, ctx: Context) -> None:
        await ctx.resource(team.session).run_sync(act)


class ScanPlain(Handler[ParcelScanned], channel="scan-plain", once=team, retry=ONCE):
    def handle(self, event: ParcelScanned, ctx: Context) -> None:
        act(ctx.resource(team.plain_session))


KINDS = pytest.mark.parametrize("handler", [Scan, ScanPlain])
ON_POSTGRESQL = pytest.mark.parametrize("url", SERVERS, indirect=True)


@pytest.fixture(autouse=True)
def _no_acts() -> Iterator[None]:
    yield
    acts.clear()


def ends_its_connection(session: Any) -> None:
    session.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))


@ON_POSTGRESQL
@KINDS
async def test_a_connection_that_is_lost_in_a_handler_is_an_outage(
    handler: type[Handler[ParcelScanned]], settings: Settings
) -> None:
    acts.extend([ends_its_connection, ends_its_connection])
    async with Harness([handler], settings=settings) as h:
        await h.publish(ParcelScanned("p1"))
        await h.settle(through_delays=True)
        assert "database team is away" in h.requeued(ParcelScanned, reason="breaker_open").once().detail
        h.handled(ParcelScanned).once()  # after a trial that failed: it was kept, and tried again
    assert acts == []


@pytest.fixture
def server(postgresql: str) -> Iterator[sa.Engine]:
    """The server, to open and shut one database of it."""
    engine = sa.create_engine(
        postgresql.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.exec_driver_sql("DROP DATABASE IF EXISTS shut")
        connection.exec_driver_sql("CREATE DATABASE shut")
    yield engine
    engine.dispose()


@KINDS
async def test_a_database_that_takes_no_connections_is_an_outage(
    handler: type[Handler[ParcelScanned]], server: sa.Engine, postgresql: str
) -> None:
    settings = Settings(app={"team_url": f"{postgresql.rpartition('/')[0]}/shut"})
    await asyncio.to_thread(team.upgrade, settings)
    with server.connect() as connection:
        async with Harness([handler], settings=settings) as h:
            connection.exec_driver_sql("ALTER DATABASE shut ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shut'"
            )
            await h.publish(ParcelScanned("p1"))
            await h.settle()
            assert "database team is away" in h.requeued(ParcelScanned, reason="breaker_open").once().detail
            connection.exec_driver_sql("ALTER DATABASE shut ALLOW_CONNECTIONS true")
            await h.settle(through_delays=True)
            h.handled(ParcelScanned).once()


class FakeError(Exception):
    """An error of the driver, as far as nsqkit looks at it."""

    def __init__(self, sqlstate: str | None) -> None:
        super().__init__("failed")
        self.sqlstate = sqlstate


FakeError.__module__ = "psycopg.errors"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(OperationalError("", None, FakeError(None)), True, id="no connection could be opened"),
        pytest.param(OperationalError("", None, FakeError("57P03")), True, id="the server is starting"),
        pytest.param(OperationalError("", None, FakeError("53300")), True, id="too many connections"),
        pytest.param(OperationalError("", None, FakeError("08006")), True, id="connection failure"),
        pytest.param(
            DBAPIError("", None, FakeError("XX000"), connection_invalidated=True),
            True,
            id="SQLAlchemy says so",
        ),
        pytest.param(OperationalError("", None, FakeError("57014")), False, id="a cancelled statement"),
        pytest.param(OperationalError("", None, FakeError("40P01")), False, id="a deadlock"),
        pytest.param(IntegrityError("", None, FakeError(None)), False, id="a constraint"),
        pytest.param(OperationalError("", None, OSError("disk")), False, id="SQLite is a file"),
    ],
)
def test_these_errors_are_an_outage(error: DBAPIError, expected: bool) -> None:  # noqa: FBT001 - a table
    assert is_away(error) is expected
    with pytest.raises(DatabaseAwayError if expected else type(error)), as_outage("team"):
        raise error
