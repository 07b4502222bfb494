"""What tests of nsqkit.sql share: each test has an empty database, on SQLite and on each PostgreSQL."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from blockbuster import BlockBusterFunction, blockbuster_ctx

from nsqkit import Settings
from nsqkit.sql import Database
from nsqkit.sql.urls import DatabaseUrl
from tests.postgres import SERVERS, running, running_18
from tests.waiting import PATIENCE_S

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _blocking_calls_fail() -> Iterator[None]:
    """Let a call of nsqkit.sql that blocks the event loop raise an error."""
    waits = BlockBusterFunction(psycopg.Connection, "wait", scanned_modules="nsqkit.sql")
    with blockbuster_ctx("nsqkit.sql") as found:
        found.functions["os.path.abspath"].deactivate()  # a new engine of SQLite calls it once
        waits.activate()
        yield
        waits.deactivate()


@pytest.fixture(scope="session")
def _of_postgresql() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture(scope="session")
def _of_postgresql18() -> Iterator[str]:
    with running_18() as url:
        yield url


@pytest.fixture(params=SERVERS)
def postgresql(request: pytest.FixtureRequest) -> str:
    """A server for all tests of the run; the URL of its database."""
    url: str = request.getfixturevalue(f"_of_{request.param}")
    return url


@pytest.fixture(params=["sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/team.sqlite"
    server: str = request.getfixturevalue(f"_of_{request.param}")
    name = f"team{next(_numbers)}"
    engine = sa.create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {name}")  # made faster than a database
    engine.dispose()
    return f"{server}?options=-csearch_path%3D{name}"


@pytest.fixture
def settings(url: str) -> Settings:
    """Settings of a worker with the database ``team``, which has nsqkit's tables."""
    found = Settings(app={"team_url": url}, lock_timeout_s=PATIENCE_S)
    Database("team").upgrade(found)
    return found


@pytest.fixture
def outside(url: str) -> Iterator[sa.Engine]:
    """An engine of somebody else's on the database."""
    engine = sa.create_engine(DatabaseUrl.read("team", Settings(app={"team_url": url})).plain)
    yield engine
    engine.dispose()
