"""Parked: the events of an outbox that can never be published, for the commands of operators."""

from collections.abc import Sequence
from dataclasses import dataclass

from nsqkit.settings.settings import Settings
from nsqkit.sql import outbox
from nsqkit.sql.one_transaction import in_transaction


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that can never be published as it is.

    Args:
        id: Its number in the outbox.
        topic: Topic to publish to.
        parked_at: When it was parked, seconds since 1970 UTC.
        problem: Why nsqd refuses it.
    """

    id: int
    topic: str
    parked_at: float
    problem: str


def parked_events(name: str, settings: Settings) -> list[ParkedEvent]:
    """Return the parked events of a database, oldest first.

    Args:
        name: Name of the database.
        settings: Its URL.

    Raises:
        SettingsError: If the URL is missing or wrong.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """
    rows = in_transaction(name, settings, outbox.parked)
    return [ParkedEvent(row.id, row.topic, row.parked_at, row.problem) for row in rows]


def replay(name: str, settings: Settings, ids: Sequence[int] = ()) -> int:
    """Let relays publish parked events again, and return how many there are.

    Args:
        name: Name of the database.
        settings: Its URL.
        ids: The events; all parked ones if it is empty.

    Raises:
        SettingsError: If the URL is missing or wrong.
        SchemaError: If the schema of the database is not that of this nsqkit.
    """
    return in_transaction(name, settings, lambda connection: outbox.replay(connection, ids))
