"""Tables: the rows that nsqkit keeps in a team's database. The migrations create them.

Times are seconds since 1970 UTC, from the caller's clock: every statement has its time as a parameter.
"""

from typing import Final

from sqlalchemy import Column, Double, Index, MetaData, PrimaryKeyConstraint, Table, Text

VERSION_TABLE: Final = "nsqkit_schema"
"""Where alembic keeps the revision; a team's own migrations have another table."""

METADATA: Final = MetaData()

INBOX: Final = Table(
    "nsqkit_inbox",
    METADATA,
    Column("topic", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("handler", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("handled_at", Double, nullable=False),
    # The id is first: the others have few values, and an index is searched from its first column.
    PrimaryKeyConstraint("event_id", "source", "handler", "channel", "topic", name="nsqkit_inbox_pkey"),
    Index("nsqkit_inbox_handled_at", "handled_at"),
)
"""One row for each event that a handler has handled."""
