"""Locks: limit for how long a transaction waits for a lock of another one. They take and release none."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from nsqkit.sql.engines import is_lock_timeout


class LockedError(Exception):
    """Another transaction kept a lock for longer than *lock_timeout_s* seconds."""

    def __init__(self, lock_timeout_s: float) -> None:
        super().__init__(f"another transaction kept a lock for longer than {lock_timeout_s:g} s")


def limit(connection: Connection, lock_timeout_s: float) -> None:
    """Limit the wait of every statement of a transaction. SQLite has waited for its lock already.

    Args:
        connection: A connection in a transaction, before its first statement: BEGIN shares its round trip.
        lock_timeout_s: Longest wait, in seconds.
    """
    if connection.dialect.name == "postgresql":
        from nsqkit.sql import driver  # noqa: PLC0415 - SQLite does without psycopg

        driver.run(connection, "SELECT set_config('lock_timeout', %s, true)", (f"{lock_timeout_s}s",))


@contextmanager
def limited(lock_timeout_s: float) -> Iterator[None]:
    """Raise LockedError if a statement of the block has waited too long for a lock.

    Args:
        lock_timeout_s: Longest wait, in seconds, for the text.

    Raises:
        LockedError: If another transaction kept a lock for longer.
    """
    try:
        yield
    except DBAPIError as error:
        if is_lock_timeout(error):
            raise LockedError(lock_timeout_s) from error
        raise
