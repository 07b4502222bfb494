"""Outage: tells a database that is away from a statement that fails; it tries nothing again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, OperationalError

from nsqkit.errors import DatabaseAwayError
from nsqkit.policy.redaction import describe

RETRY_S: Final = 5.0
"""Seconds until a handler tries a database again that was away; longer after each failed trial."""
_AWAY: Final = ("08", "53", "57P")
"""Classes of SQLSTATE: connection exception, insufficient resources, and the end or the start of a server."""


@contextmanager
def as_outage(name: str) -> Iterator[None]:
    """Turn the loss of a connection, or a connection that cannot be opened, into an outage of the database.

    Args:
        name: Name of the database.

    Raises:
        DatabaseAwayError: If PostgreSQL cannot be reached. SQLite is a file, which is never away.
    """
    try:
        yield
    except DBAPIError as error:
        if is_away(error):
            raise DatabaseAwayError(f"database {name}", RETRY_S, describe(error)) from error
        raise


def is_away(error: DBAPIError) -> bool:
    """Return whether an error says that the server cannot be reached, and nothing about the statement."""
    if error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError) or not type(error.orig).__module__.startswith("psycopg"):
        return False
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(_AWAY)
