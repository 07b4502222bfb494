"""Driver: statements of nsqkit in psycopg's own words, in one round trip with BEGIN and COMMIT.

SQLAlchemy and a cursor of the driver cost as much for each statement as the round trip (ADR 0090). Import the
module where it is used: SQLite does without psycopg.
"""

from binascii import hexlify
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import Any

from psycopg import Error, generators
from psycopg.errors import error_from_result
from psycopg.pq import Escaping, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.util import await_only

Value = str | bytes | float


def run(
    connection: Connection, statement: str, values: Sequence[Value], *, commits: bool = False
) -> PGresult:
    """Run a statement in the transaction of a connection to PostgreSQL, and return its result.

    SQLAlchemy does not see it. BEGIN, if the driver has not sent it, is part of the same round trip.

    Args:
        connection: A connection in a transaction.
        statement: One statement, with ``%s`` for each value.
        values: Texts, bytes and finite numbers. They become literals of the statement, so that nothing is
            prepared.
        commits: Whether COMMIT is part of the same round trip. The caller commits afterwards as usual, and
            the driver sends nothing more.

    Raises:
        DBAPIError: If PostgreSQL refuses the statement or the COMMIT, or the connection is lost.
    """
    driver: Any = connection.connection.driver_connection
    results: list[PGresult]
    command = statement.encode() % _literals(driver, values)
    begins: bool = driver.pgconn.transaction_status == TransactionStatus.IDLE
    if begins:
        command = b"BEGIN; " + command
    if commits:
        command += b"; COMMIT"
    try:
        if connection.dialect.is_async:
            results = await_only(_on_loop(driver, command))
        else:
            with driver.lock:
                results = driver.wait(_results(driver, command))
    except Error as error:
        raise _wrapped(connection, driver, statement, error) from error
    except BaseException as error:  # the state of the connection is unknown, as after a timeout
        connection.invalidate(error)
        raise
    return results[begins]


def has_failed(connection: Connection) -> bool:
    """Return whether a transaction on PostgreSQL has failed, and only accepts a rollback."""
    driver: Any = connection.connection.driver_connection
    failed: bool = driver.pgconn.transaction_status == TransactionStatus.INERROR
    return failed


def _literals(driver: Any, values: Sequence[Value]) -> tuple[bytes, ...]:
    """Return values as literals of a statement; there may be thousands."""
    pgconn = driver.pgconn
    escape = Escaping(pgconn).escape_literal
    is_utf8 = pgconn.parameter_status(b"client_encoding") == b"UTF8"
    encoding = "utf-8" if is_utf8 else driver.info.encoding
    literals = [
        b"%a" % value  # the shortest text that is read as the same number
        if type(value) is float
        else escape(value.encode(encoding))
        if type(value) is str or isinstance(value, str)  # most are, and cost no call
        else b"E'\\\\x%b'" % hexlify(value)  # type: ignore[arg-type] # bytes
        for value in values
    ]
    return tuple(literals)


async def _on_loop(driver: Any, command: bytes) -> list[PGresult]:
    async with driver.lock:
        found: list[PGresult] = await driver.wait(_results(driver, command))
        return found


def _results(driver: Any, command: bytes) -> Generator[Any, Any, list[PGresult]]:
    driver.pgconn.send_query(command)
    results: list[PGresult] = yield from generators.execute(driver.pgconn)
    if results[-1].status == ExecStatus.FATAL_ERROR:
        raise error_from_result(results[-1], driver.info.encoding)
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
