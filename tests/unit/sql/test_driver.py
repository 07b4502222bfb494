"""Driver: a statement shares its round trip with BEGIN and COMMIT, and fails as one of SQLAlchemy does."""

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError

from nsqkit import Settings
from nsqkit.sql.driver import run
from nsqkit.sql.engines import Engines
from nsqkit.sql.urls import DatabaseUrl

KINDS = pytest.mark.parametrize("kind", ["async", "plain"])
INSERT = "INSERT INTO parcels (name, body) VALUES (%s, %s) RETURNING id"
VALUES = ("o'clock %s; \\ é", b"\0\xff'")


@pytest.fixture
def url(postgresql: str, outside_schema: str) -> str:
    """The URL of an empty schema of PostgreSQL."""
    return f"{postgresql}?options=-csearch_path%3D{outside_schema}"


@pytest.fixture
def outside_schema(postgresql: str) -> str:
    """A schema with a table whose names are unique when a transaction ends."""
    engine = sa.create_engine(postgresql.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS driver CASCADE")
        connection.exec_driver_sql("CREATE SCHEMA driver")
        connection.exec_driver_sql(
            "CREATE TABLE driver.parcels (id int GENERATED ALWAYS AS IDENTITY, name text, body bytea, "
            "UNIQUE (name) DEFERRABLE INITIALLY DEFERRED)"
        )
    engine.dispose()
    return "driver"


async def in_engine(url: str, kind: str, work: Callable[[sa.Connection], None], *, times: int = 1) -> None:
    """Do work on a connection of an engine with one connection, on the event loop or not; commit nothing."""
    engines = Engines(
        DatabaseUrl.read("team", Settings(app={"team_url": url})), pool_size=1, lock_timeout_s=1
    )
    try:
        for _ in range(times):
            if kind == "async":
                async with engines.on_loop.connect() as connection:
                    await connection.run_sync(work)
            else:
                await asyncio.to_thread(on_plain_connection, engines, work)
    finally:
        await engines.close()


def on_plain_connection(engines: Engines, work: Callable[[sa.Connection], None]) -> None:
    with engines.plain.connect() as connection:
        work(connection)


def rows(outside: sa.Engine) -> Sequence[Any]:
    with outside.connect() as connection:
        return connection.exec_driver_sql("SELECT name, body FROM parcels").all()


@KINDS
async def test_begin_statement_and_commit_are_one_round_trip(kind: str, url: str, outside: sa.Engine) -> None:
    def work(connection: sa.Connection) -> None:
        transaction = connection.begin()
        found = run(connection, INSERT, VALUES, commits=True)
        assert found.ntuples == found.command_tuples == 1
        assert rows(outside) == [VALUES]
        transaction.commit()

    await in_engine(url, kind, work)


class Colour(enum.StrEnum):
    RED = "re'd"


@KINDS
@pytest.mark.parametrize(
    ("value", "kind_of_column"),
    [
        ("", "text"),
        ("o'clock \\' %s %% \n; é €", "text"),
        (Colour.RED, "text"),
        (b"", "bytea"),
        (bytes(range(256)), "bytea"),
        (1e-300, "float8"),
        (1_764_000_000.123457, "float8"),
        (-0.1, "float8"),
    ],
    ids=ascii,
)
async def test_a_value_arrives_as_it_is(value: Any, kind_of_column: str, kind: str, url: str) -> None:
    def work(connection: sa.Connection) -> None:
        with connection.begin():
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE given (value {kind_of_column}) ON COMMIT DROP"
            )
            run(connection, "INSERT INTO given VALUES (%s)", (value,))
            assert connection.exec_driver_sql("SELECT value FROM given").scalar_one() == value

    await in_engine(url, kind, work)


@pytest.mark.parametrize("encoding", ["LATIN1", "SJIS"])
async def test_texts_are_in_the_encoding_of_the_connection(encoding: str, url: str) -> None:
    text = {"LATIN1": "é'\\", "SJIS": "\N{KATAKANA LETTER SO}'\\"}[encoding]  # the letter ends in a backslash

    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SET client_encoding TO {encoding}")
        connection.commit()
        with connection.begin():
            run(connection, "INSERT INTO parcels (name) VALUES (%s)", (text,))
            connection.exec_driver_sql("SET client_encoding TO UTF8")
            assert connection.exec_driver_sql("SELECT name FROM parcels").scalar_one() == text

    await in_engine(url, "async", work)


@KINDS
async def test_a_statement_is_part_of_the_transaction_that_others_began(
    kind: str, url: str, outside: sa.Engine
) -> None:
    def work(connection: sa.Connection) -> None:
        with connection.begin() as transaction:
            connection.exec_driver_sql(INSERT, ("first", b""))
            run(connection, INSERT, ("second", b""))
            connection.exec_driver_sql(INSERT, ("third", b""))
            transaction.rollback()

    await in_engine(url, kind, work, times=2)
    assert rows(outside) == []


@KINDS
async def test_without_a_commit_the_transaction_is_rolled_back(
    kind: str, url: str, outside: sa.Engine
) -> None:
    def work(connection: sa.Connection) -> None:
        connection.begin()
        run(connection, INSERT, VALUES)

    await in_engine(url, kind, work, times=2)
    assert rows(outside) == []


@KINDS
async def test_a_refused_statement_commits_nothing(kind: str, url: str, outside: sa.Engine) -> None:
    def work(connection: sa.Connection) -> None:
        connection.begin()
        run(connection, INSERT, VALUES)
        with pytest.raises(DBAPIError, match="nowhere") as caught:
            run(connection, "INSERT INTO nowhere VALUES (%s)", ("x",), commits=True)
        assert not caught.value.connection_invalidated

    await in_engine(url, kind, work, times=2)
    assert rows(outside) == []


@KINDS
async def test_a_refused_commit_is_an_error(kind: str, url: str, outside: sa.Engine) -> None:
    def work(connection: sa.Connection) -> None:
        connection.begin()
        run(connection, INSERT, VALUES)
        with pytest.raises(IntegrityError, match="unique"):
            run(connection, INSERT, VALUES, commits=True)

    await in_engine(url, kind, work, times=2)
    assert rows(outside) == []


@KINDS
async def test_a_lost_connection_is_replaced(kind: str, url: str, outside: sa.Engine) -> None:
    lost: list[int] = []

    def work(connection: sa.Connection) -> None:
        connection.begin()
        if lost:
            run(connection, INSERT, VALUES, commits=True)
            return
        lost.append(int(run(connection, "SELECT pg_backend_pid()", ()).get_value(0, 0) or 0))
        with outside.connect() as other:
            other.exec_driver_sql("SELECT pg_terminate_backend(%s, 10000)", (lost[0],))
        with pytest.raises(DBAPIError) as caught:
            run(connection, INSERT, VALUES)
        assert caught.value.connection_invalidated

    await in_engine(url, kind, work, times=2)
    assert rows(outside) == [VALUES]
