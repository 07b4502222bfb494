"""Outbox: the rows of events to publish. It publishes none, and commits no transaction."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, text, true, update
from sqlalchemy import event as events
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, registry

from nsqkit.handler.outgoing import Outgoing, Preparer
from nsqkit.settings.settings import Settings
from nsqkit.sql.tables import OUTBOX

MOST_IDS: Final = 500
"""Most ids in one statement; SQLite has a limit for parameters."""
NOTIFY: Final = text("SELECT pg_notify('nsqkit_outbox', '')")
"""Wakes the relays that listen, once the transaction is committed."""
_WAITS: Final = OUTBOX.c.sent_at.is_(None) & OUTBOX.c.parked_at.is_(None)
# For each message, and so in the driver's own words (ADR 0090).
_COLUMNS: Final = ("topic", "body", "created_at", "due_at", "claimed_until")
_STORE: Final = "INSERT INTO nsqkit_outbox (topic, body, created_at, due_at, claimed_until) VALUES "
_ROW: Final = "(%s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event in the outbox.

    Args:
        id: Its number; a later event may have a lower one, since transactions commit in any order.
        topic: Topic to publish to.
        body: The message body.
        due_at: Time before which no consumer gets it, seconds since 1970 UTC.
    """

    id: int
    topic: str
    body: bytes
    due_at: float


class OutboxRow:
    """A row of the outbox as an object of a session."""

    notifies = False
    """Whether its transaction wakes relays that listen."""

    def __init__(self, outgoing: Outgoing, now_s: float) -> None:
        self.topic = outgoing.topic
        self.body = outgoing.body
        self.created_at = now_s
        self.due_at, self.claimed_until = _times(outgoing, now_s=now_s, lease_s=0.0)


registry().map_imperatively(OutboxRow, OUTBOX)


def add(
    session: Session | AsyncSession,
    event: object,
    *,
    topic: str | None = None,
    defer_s: float = 0.0,
    at: datetime | None = None,
    source: str | None = None,
    partition_key: str | None = None,
    sequence: str | None = None,
    attributes: Mapping[str, str] | None = None,
) -> None:
    """Add an event to the transaction of any session; ``nsqkit relay`` publishes it after the commit.

    It is for code outside of handlers, such as a script. Events of a program with an event loop leave without
    a relay by ``Database.outbox``, and those of a handler with ``once=`` by ``ctx.publish``.

    Args:
        session: The session, plain or asynchronous. It is neither flushed nor committed.
        event: An instance of a class decorated with ``@event``; encoded immediately.
        topic: Topic to publish to; by default the topic of its ``@event``.
        defer_s: Seconds from now until a consumer gets it; 0 to 3600.
        at: Time at which a relay publishes it, with a time zone; any time from now on.
        source: The ``source`` of the envelope; by default the setting ``service`` of this process.
        partition_key: What the event belongs to, such as an order: the attribute ``partitionkey``.
        sequence: Its place among the events of that key, a text that grows: the attribute ``sequence``.
        attributes: Extension attributes of the envelope, such as ``correlationid`` and ``traceparent`` of
            the request.

    Raises:
        EncodeError: If it is not an event, has no topic, or cannot be written as JSON; if *at* has no time
            zone, or *defer_s* is given too.
        SettingsError: If the settings of this process are wrong.
    """
    preparer = _preparer(source)
    outgoing = preparer.event(
        event,
        topic,
        defer_s,
        partition_key=partition_key,
        sequence=sequence,
        extensions=attributes or {},
        at=at,
    )
    if outgoing is not None:
        row = OutboxRow(outgoing, time.time())
        row.notifies = _notifies()
        session.add(row)


@cache
def _notifies() -> bool:
    return Settings.load().outbox_notify


def _after_insert(_mapper: object, connection: Connection, row: OutboxRow) -> None:
    """Wake relays with the commit; PostgreSQL sends one notification for all those of a transaction."""
    if row.notifies and connection.dialect.name == "postgresql":
        connection.execute(NOTIFY)


events.listen(OutboxRow, "after_insert", _after_insert)


@cache
def _preparer(source: str | None) -> Preparer:
    settings = Settings.load()
    return Preparer(source=source or settings.service, max_msg_bytes=settings.max_msg_bytes)


def store(
    connection: Connection,
    outgoing: Sequence[Outgoing],
    *,
    now_s: float,
    lease_s: float,
    commits: bool = False,
) -> list[int]:
    """Add events in the running transaction, claimed by the caller, and return their ids in order.

    Args:
        connection: A connection in a transaction.
        outgoing: The events, 1 or more.
        now_s: The present time, seconds since 1970 UTC.
        lease_s: Seconds for which only the caller publishes them; 0 or more.
        commits: Whether PostgreSQL commits in the same round trip; the caller commits in any case.
    """
    rows = [(each.topic, each.body, now_s, *_times(each, now_s=now_s, lease_s=lease_s)) for each in outgoing]
    if connection.dialect.name == "postgresql":
        from nsqkit.sql.driver import run  # noqa: PLC0415 - SQLite does without psycopg

        statement = f"{_STORE}{', '.join([_ROW] * len(rows))} RETURNING id"
        found = run(connection, statement, tuple(chain.from_iterable(rows)), commits=commits)
        return sorted([int(found.get_value(place, 0) or 0) for place in range(found.ntuples)])
    added = insert(OUTBOX).returning(OUTBOX.c.id, sort_by_parameter_order=True)
    return list(connection.execute(added, [dict(zip(_COLUMNS, row, strict=True)) for row in rows]).scalars())


def is_scheduled(outgoing: Outgoing, *, now_s: float) -> bool:
    """Return whether an event stays in the outbox until a later time, for a relay.

    Args:
        outgoing: The event.
        now_s: The present time, seconds since 1970 UTC.
    """
    return outgoing.at_s is not None and outgoing.at_s > now_s


def _times(outgoing: Outgoing, *, now_s: float, lease_s: float) -> tuple[float, float]:
    """Return when a consumer may get an event, and when a relay may publish it."""
    if outgoing.at_s is not None and is_scheduled(outgoing, now_s=now_s):
        return outgoing.at_s, outgoing.at_s
    return float(now_s + outgoing.defer_s), now_s + lease_s


def claim(connection: Connection, *, now_s: float, lease_s: float, most: int) -> list[StoredEvent]:
    """Claim events that wait and that no other process has claimed; rows in use elsewhere are skipped.

    Args:
        connection: A connection in a transaction.
        now_s: The present time, seconds since 1970 UTC.
        lease_s: Seconds for which only the caller publishes them; above 0.
        most: Most events to claim; 1 or more.
    """
    free = (
        select(OUTBOX.c.id)
        .where(_WAITS, OUTBOX.c.claimed_until <= now_s)
        .order_by(OUTBOX.c.claimed_until)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    claimed = (
        update(OUTBOX)
        .where(OUTBOX.c.id.in_(free.scalar_subquery()))
        .values(claimed_until=now_s + lease_s)
        .returning(OUTBOX.c.id, OUTBOX.c.topic, OUTBOX.c.body, OUTBOX.c.due_at)
    )
    return [StoredEvent(*row) for row in connection.execute(claimed)]


def mark_sent(connection: Connection, ids: Sequence[int], *, now_s: float) -> None:
    """Mark events as published.

    Args:
        connection: A connection in a transaction.
        ids: Events that nsqd has confirmed; at most ``MOST_IDS``.
        now_s: The present time, seconds since 1970 UTC.
    """
    listed = ", ".join(map(str, ids))  # SQLAlchemy would make a parameter of each
    connection.exec_driver_sql(f"UPDATE nsqkit_outbox SET sent_at = {now_s!r} WHERE id IN ({listed})")  # noqa: S608 - numbers


def park(connection: Connection, event_id: int, problem: str, *, now_s: float) -> None:
    """Set an event aside that can never be published; it stays until somebody replays or deletes it.

    Args:
        connection: A connection in a transaction.
        event_id: The event.
        problem: Why nsqd refuses it, in one line.
        now_s: The present time, seconds since 1970 UTC.
    """
    connection.execute(update(OUTBOX).where(OUTBOX.c.id == event_id).values(parked_at=now_s, problem=problem))


def parked(connection: Connection) -> Sequence[Any]:
    """Return the parked events, oldest first, as rows with id, topic, created_at, parked_at and problem."""
    columns = (OUTBOX.c.id, OUTBOX.c.topic, OUTBOX.c.created_at, OUTBOX.c.parked_at, OUTBOX.c.problem)
    return connection.execute(
        select(*columns).where(OUTBOX.c.parked_at.is_not(None)).order_by(OUTBOX.c.id)
    ).all()


def replay(connection: Connection, ids: Sequence[int]) -> int:
    """Let relays publish parked events again, and return how many there are.

    Args:
        connection: A connection in a transaction.
        ids: The events; all parked ones if it is empty.
    """
    chosen = OUTBOX.c.id.in_(ids) if ids else true()
    again = update(OUTBOX).where(OUTBOX.c.parked_at.is_not(None), OUTBOX.c.sent_at.is_(None), chosen)
    return connection.execute(again.values(parked_at=None, problem=None, claimed_until=0.0)).rowcount


def forget(connection: Connection, *, before_s: float, most: int) -> int:
    """Delete events that were published before a time, and return their number.

    Args:
        connection: A connection in a transaction.
        before_s: Seconds since 1970 UTC.
        most: Most rows to delete; 1 or more.
    """
    old = select(OUTBOX.c.id).where(OUTBOX.c.sent_at < before_s).limit(most)
    return connection.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(old.scalar_subquery()))).rowcount
