"""One transaction: what a command of an operator does in a database, on a connection of its own."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, create_engine

from nsqkit.settings.settings import Settings
from nsqkit.sql.engines import prepare
from nsqkit.sql.schema import require_current
from nsqkit.sql.urls import DatabaseUrl

T = TypeVar("T")


def in_transaction(name: str, settings: Settings, work: Callable[[Connection], T]) -> T:
    """Return what a function returns, after its writes are committed.

    Args:
        name: Name of the database.
        settings: Its URL.
        work: Takes a connection in a transaction.

    Raises:
        SettingsError: If the URL is missing or wrong.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """
    engine = create_engine(DatabaseUrl.read(name, settings).plain)
    prepare(engine, lock_timeout_s=settings.lock_timeout_s)
    try:
        with engine.begin() as connection:
            require_current(connection, name)
            return work(connection)
    finally:
        engine.dispose()
