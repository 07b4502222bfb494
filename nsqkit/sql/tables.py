"""Tables: the rows that nsqkit keeps in a team's database. The migrations create them.

Times are seconds since 1970 UTC, from the caller's clock: every statement has its time as a parameter.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql, sqlite

VERSION_TABLE: Final = "nsqkit_schema"
"""Where alembic keeps the revision; a team's own migrations have another table."""

METADATA: Final = MetaData()
INSERT: Final[dict[str, Any]] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
"""Makes an INSERT that says what to do with a row that is there already, by dialect."""

INBOX: Final = Table(
    "nsqkit_inbox",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("handled_at", Double, nullable=False),
    Column("attempts", Integer),
    # The id is first: the others have few values, and an index is searched from its first column.
    PrimaryKeyConstraint("event_id", "source", "handler", "channel", "topic", name="nsqkit_inbox_pkey"),
    Index("nsqkit_inbox_handled_at", "handled_at"),
)
"""One row for each event that a handler has handled.

With ``attempts`` it is not handled yet: so many attempts ended with a requeue that is due at ``handled_at``.
"""

OUTBOX: Final = Table(
    "nsqkit_outbox",
    METADATA,
    Column("id", BigInteger().with_variant(Integer(), "sqlite"), Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("claimed_until", Double, nullable=False),
    Column("sent_at", Double),
    Column("parked_at", Double),
    Column("problem", Text),
)
"""One row for each event to publish.

A process may publish a row that has neither ``sent_at`` nor ``parked_at`` once ``claimed_until`` has passed.
"""
Index(
    "nsqkit_outbox_waiting",
    OUTBOX.c.claimed_until,
    postgresql_where=OUTBOX.c.sent_at.is_(None) & OUTBOX.c.parked_at.is_(None),
    sqlite_where=OUTBOX.c.sent_at.is_(None) & OUTBOX.c.parked_at.is_(None),
)
Index("nsqkit_outbox_sent_at", OUTBOX.c.sent_at)

SAGA: Final = Table(
    "nsqkit_saga",
    METADATA,
    Column("saga", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("wake_at", Double),
    Column("state", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("notes", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    PrimaryKeyConstraint("key", "saga", name="nsqkit_saga_pkey"),
    Index("nsqkit_saga_correlation_id", "correlation_id", "saga", unique=True),
    Index("nsqkit_saga_changed_at", "changed_at"),
    Index("nsqkit_saga_status", "saga", "status", "changed_at"),  # for people: who needs attention?
)
"""One row for each instance of a saga. A relay wakes it once ``wake_at`` has passed."""
Index(
    "nsqkit_saga_wake_at",
    SAGA.c.wake_at,
    postgresql_where=SAGA.c.wake_at.is_not(None),
    sqlite_where=SAGA.c.wake_at.is_not(None),
)
