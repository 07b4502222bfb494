"""Driver: statements of nsqkit in psycopg's own words, in one round trip with BEGIN and COMMIT.

SQLAlchemy and a cursor of the driver cost as much for each statement as the round trip (ADR 0090). Import the
module where it is used: SQLite does without psycopg.
"""

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from psycopg import AsyncClientCursor, ClientCursor, Error, OperationalError, generators
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.util import await_only


def run(
    connection: Connection, statement: str, values: Sequence[object], *, commits: bool = False
) -> PGresult:
    """Run a statement in the transaction of a connection to PostgreSQL, and return its result.

    SQLAlchemy does not see it. BEGIN, if the driver has not sent it, is part of the same round trip.

    Args:
        connection: A connection in a transaction.
        statement: One statement, with ``%s`` for each value.
        values: The values. They become literals of the statement, so that nothing is prepared.
        commits: Whether COMMIT is part of the same round trip. The caller commits afterwards as usual, and
            the driver sends nothing more.

    Raises:
        DBAPIError: If PostgreSQL refuses the statement or the COMMIT, or the connection is lost.
    """
    driver: Any = connection.connection.driver_connection
    is_async = connection.dialect.is_async
    try:
        written = (AsyncClientCursor if is_async else ClientCursor)(driver).mogrify(statement, values)
        begins: bool = driver.pgconn.transaction_status == TransactionStatus.IDLE
        command = f"{'BEGIN; ' if begins else ''}{written}{'; COMMIT' if commits else ''}"
        results: list[PGresult] = (
            await_only(_on_loop(driver, command)) if is_async else _in_thread(driver, command)
        )
    except Error as error:
        raise _wrapped(connection, driver, statement, error) from error
    except BaseException as error:  # the state of the connection is unknown, as after a timeout
        connection.invalidate(error)
        raise
    return results[begins]


async def _on_loop(driver: Any, command: str) -> list[PGresult]:
    async with driver.lock:
        found: list[PGresult] = await driver.wait(_results(driver, command))
        return found


def _in_thread(driver: Any, command: str) -> list[PGresult]:
    with driver.lock:
        found: list[PGresult] = driver.wait(_results(driver, command))
        return found


def _results(driver: Any, command: str) -> Generator[Any, Any, list[PGresult]]:
    if driver.closed:
        raise OperationalError("the connection is closed")
    encoding = driver.info.encoding
    driver.pgconn.send_query(command.encode(encoding))
    results: list[PGresult] = yield from generators.execute(driver.pgconn)
    if results[-1].status == ExecStatus.FATAL_ERROR:
        raise error_from_result(results[-1], encoding)
    return results


def _wrapped(connection: Connection, driver: Any, statement: str, error: Error) -> StatementError:
    """Return an error of the driver as SQLAlchemy raises it."""
    is_lost: bool = driver.closed
    if is_lost:
        with suppress(DBAPIError):
            connection.exec_driver_sql("SELECT 1")  # it fails, and SQLAlchemy replaces the pool's connections
    return DBAPIError.instance(
        statement, None, error, Error, connection_invalidated=is_lost, dialect=connection.dialect
    )
