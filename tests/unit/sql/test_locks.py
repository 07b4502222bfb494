"""Locks: a wait that is too long has an error of its own, and no statement waits longer."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nsqkit.sql.locks import LockedError, limit, limited


class LockNotAvailableError(Exception):
    """What PostgreSQL answers."""

    sqlstate = "55P03"


class BusyError(Exception):
    """What SQLite answers."""

    sqlite_errorcode = 261  # SQLITE_BUSY_RECOVERY


class SerializationError(Exception):
    """Any other answer."""

    sqlstate = "40001"


def failing(cause: Exception) -> OperationalError:
    return OperationalError("UPDATE", None, cause)


@pytest.mark.parametrize("cause", [LockNotAvailableError(), BusyError()], ids=["PostgreSQL", "SQLite"])
def test_a_wait_that_is_too_long_says_so(cause: Exception) -> None:
    with pytest.raises(LockedError, match=r"for longer than 0\.5 s"), limited(0.5):
        raise failing(cause)


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(OperationalError), limited(0.5):
        raise failing(SerializationError())


@pytest.mark.usefixtures("settings")
def test_a_limit_holds_for_the_transaction_and_no_longer(outside: sa.Engine) -> None:
    with outside.connect() as connection:
        before = _lock_timeout(connection)
        limit(connection, 0.2504)
        during = _lock_timeout(connection)
        connection.rollback()
        after = _lock_timeout(connection)
    is_server = outside.dialect.name == "postgresql"
    assert (before, during, after) == (before, "250ms" if is_server else before, before)


def _lock_timeout(connection: sa.Connection) -> Any:
    if connection.dialect.name != "postgresql":
        return ""
    return connection.exec_driver_sql("SHOW lock_timeout").scalar_one()
