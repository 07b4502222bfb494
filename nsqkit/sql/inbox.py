"""Inbox: the rows of handled events. It begins and commits no transaction."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from sqlalchemy import Connection, text

from nsqkit.handler.context import Context

_LONGEST: Final = 255
_COLUMNS: Final = "topic, channel, handler, source, event_id, handled_at"
# For each message, and so in the driver's own words (ADR 0090).
# PostgreSQL sets the limit for the whole transaction in the same round trip, and before it waits for a lock.
_INSERT: Final = f"INSERT INTO nsqkit_inbox ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
_INSERT_WITHIN: Final = (
    f"INSERT INTO nsqkit_inbox ({_COLUMNS}) SELECT %s, %s, %s, %s, %s, %s "  # noqa: S608 - constants
    "FROM set_config('lock_timeout', %s, true) ON CONFLICT DO NOTHING"
)
_KEYS: Final = {
    "postgresql": "unnest(CAST(:sources AS text[]), CAST(:event_ids AS text[])) AS given (source, event_id)",
    "sqlite": (
        "(SELECT json_extract(value, '$[0]') AS source, json_extract(value, '$[1]') AS event_id "
        "FROM json_each(:keys)) AS given"
    ),
}
# The rows of all transactions are in one order, so that no two of them wait for each other.
_INSERT_ALL: Final = {
    dialect: text(
        f"INSERT INTO nsqkit_inbox ({_COLUMNS}) "  # noqa: S608 - constants
        "SELECT :topic, :channel, :handler, given.source, given.event_id, :handled_at "
        f"FROM {keys}{limit} WHERE true ORDER BY given.event_id, given.source "
        "ON CONFLICT DO NOTHING RETURNING source, event_id"
    )
    for dialect, keys, limit in (
        ("postgresql", _KEYS["postgresql"], ", set_config('lock_timeout', :lock_timeout, true)"),
        ("sqlite", _KEYS["sqlite"], ""),
    )
}
_REMOVE: Final = {
    dialect: text(
        "DELETE FROM nsqkit_inbox WHERE topic = :topic AND channel = :channel AND handler = :handler "  # noqa: S608 - constants
        f"AND (source, event_id) IN (SELECT given.source, given.event_id FROM {keys})"
    )
    for dialect, keys in _KEYS.items()
}
_DELETE: Final = {
    dialect: text(
        f"DELETE FROM nsqkit_inbox WHERE {row} IN "  # noqa: S608 - constants
        f"(SELECT {row} FROM nsqkit_inbox WHERE handled_at < :before LIMIT :most)"
    )
    for dialect, row in (("postgresql", "ctid"), ("sqlite", "rowid"))
}


@dataclass(frozen=True, slots=True)
class InboxKey:
    """What identifies one event for one handler.

    Args:
        topic: Source topic of the handler, also for a replayed message.
        channel: Channel of the handler.
        handler: Name of the handler class.
        source: Publisher of the event; empty for an event without an envelope.
        event_id: Id of the event, unique for its source.
    """

    topic: str
    channel: str
    handler: str
    source: str
    event_id: str

    @classmethod
    def of(cls, handler: str, ctx: Context, source: str, event_id: str) -> Self:
        """Return the key of a message; a text that a database may refuse is replaced by its hash.

        Args:
            handler: Name of the handler class.
            ctx: Context of the message.
            source: Publisher of the event.
            event_id: Id of the event.
        """
        return cls(ctx.topic, ctx.channel, handler, _storable(source), _storable(event_id))


def add(connection: Connection, key: InboxKey, *, now_s: float, lock_timeout_s: float) -> bool:
    """Add the row of an event in the running transaction; wait for another transaction that adds it too.

    Args:
        connection: A connection in a transaction.
        key: The event and its handler.
        now_s: The present time, seconds since 1970 UTC.
        lock_timeout_s: Longest wait for a lock, in seconds, for this and every later statement of the
            transaction. SQLite has waited for its lock already.

    Returns:
        Whether the row is new.
    """
    values = (key.topic, key.channel, key.handler, key.source, key.event_id, now_s)
    if connection.dialect.name == "postgresql":
        from nsqkit.sql.driver import run  # noqa: PLC0415 - SQLite does without psycopg

        return run(connection, _INSERT_WITHIN, (*values, f"{lock_timeout_s}s")).command_tuples == 1
    return connection.exec_driver_sql(_INSERT, values).rowcount > 0


def add_all(
    connection: Connection, keys: Sequence[InboxKey], *, now_s: float, lock_timeout_s: float
) -> frozenset[InboxKey]:
    """Add the rows of several events of one handler, as :func:`add` does; return those that are new.

    Args:
        connection: A connection in a transaction.
        keys: The events, of one handler; 1 or more, each once.
        now_s: The present time, seconds since 1970 UTC.
        lock_timeout_s: As of :func:`add`.
    """
    dialect = connection.dialect.name
    values = {**_given(dialect, keys), "handled_at": now_s}
    if dialect == "postgresql":
        values["lock_timeout"] = f"{lock_timeout_s}s"
    added = connection.execute(_INSERT_ALL[dialect], values)
    first = keys[0]
    return frozenset(
        InboxKey(first.topic, first.channel, first.handler, source, event_id) for source, event_id in added
    )


def remove(connection: Connection, keys: Sequence[InboxKey]) -> None:
    """Delete the rows of events of one handler.

    Args:
        connection: A connection in a transaction.
        keys: The events; 1 or more.
    """
    connection.execute(_REMOVE[connection.dialect.name], _given(connection.dialect.name, keys))


def _given(dialect: str, keys: Sequence[InboxKey]) -> dict[str, object]:
    """Return the parameters for the keys of one handler."""
    first = keys[0]
    handler: dict[str, object] = {"topic": first.topic, "channel": first.channel, "handler": first.handler}
    if dialect == "postgresql":
        sources, event_ids = [each.source for each in keys], [each.event_id for each in keys]
        return {**handler, "sources": sources, "event_ids": event_ids}
    return {**handler, "keys": json.dumps([(each.source, each.event_id) for each in keys])}


def forget(connection: Connection, *, before_s: float, most: int) -> int:
    """Delete rows that are older than a time, and return their number.

    Args:
        connection: A connection in a transaction.
        before_s: Rows that were handled before it are deleted; seconds since 1970 UTC.
        most: Most rows to delete; 1 or more.
    """
    return connection.execute(_DELETE[connection.dialect.name], {"before": before_s, "most": most}).rowcount


def _storable(value: str) -> str:
    if len(value) <= _LONGEST and "\0" not in value:
        return value
    return f"sha256:{hashlib.sha256(value.encode(errors='surrogatepass')).hexdigest()}"
