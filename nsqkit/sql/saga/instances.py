"""Instances: what commands of operators read of the sagas in a database, and what they ask of them."""

from sqlalchemy import Connection

from nsqkit.errors import NsqkitError
from nsqkit.handler.wall_clock import MACHINE
from nsqkit.settings.settings import Settings
from nsqkit.sql import outbox
from nsqkit.sql.one_transaction import in_transaction
from nsqkit.sql.saga import store
from nsqkit.sql.saga.events import Signal
from nsqkit.sql.saga.store import Instance
from nsqkit.sql.saga.waking import signal_event
from nsqkit.sql.server_clock import ServerClock


class UnknownInstanceError(NsqkitError):
    """A saga has no instance with a key.

    Args:
        saga: Name of the saga.
        key: The key.
    """

    def __init__(self, saga: str, key: str) -> None:
        super().__init__(saga, key)
        self.saga = saga
        self.key = key

    def __str__(self) -> str:
        return (
            f"saga {self.saga} has no instance {self.key!r}: none has started with this key, or it has ended "
            "and was deleted after saga_retention_s; `nsqkit saga ls` lists those there are"
        )


def instances(
    name: str, settings: Settings, *, saga: str = "", status: str = "", most: int = 100
) -> list[Instance]:
    """Return the instances in a database, those that changed last first.

    Args:
        name: Name of the database.
        settings: Its URL.
        saga: Name of the saga; empty for all.
        status: Their status; empty for all.
        most: Most instances to return; 1 or more.

    Raises:
        SettingsError: If the URL is missing or wrong.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """
    return in_transaction(
        name, settings, lambda connection: store.listed(connection, saga=saga, status=status, most=most)
    )


def instance(name: str, settings: Settings, saga: str, key: str) -> Instance:
    """Return one instance.

    Args:
        name: Name of the database.
        settings: Its URL.
        saga: Name of the saga.
        key: Key of the instance.

    Raises:
        UnknownInstanceError: If there is none.
        SettingsError: If the URL is missing or wrong.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """
    return in_transaction(name, settings, lambda connection: _found(connection, saga, key))


def ask(name: str, settings: Settings, saga: str, key: str, signal: Signal, *, reason: str = "") -> None:
    """Ask an instance to resume or to compensate, by an event that a relay publishes to its workers.

    Args:
        name: Name of the database.
        settings: Its URL.
        saga: Name of the saga.
        key: Key of the instance.
        signal: What to ask.
        reason: Why it is compensated, in one line.

    Raises:
        UnknownInstanceError: If there is none.
        SettingsError: If the URL is missing or wrong.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """

    def write(connection: Connection) -> None:
        found = _found(connection, saga, key)
        event = signal_event(key, signal, found.topic, reason)
        outbox.store(connection, [event], now_s=_now_s(connection), lease_s=0.0)

    in_transaction(name, settings, write)


def _now_s(connection: Connection) -> float:
    clock = ServerClock(MACHINE)
    clock.measure(connection)
    return clock.now_s()


def _found(connection: Connection, saga: str, key: str) -> Instance:
    found = store.find(connection, saga, key=key)
    if found is None:
        raise UnknownInstanceError(saga, key)
    return found
