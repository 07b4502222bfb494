"""Create the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of events to publish."""
    op.create_table(
        "nsqkit_outbox",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=True),
            primary_key=True,
        ),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("claimed_until", sa.Double, nullable=False),
        sa.Column("sent_at", sa.Double),
        sa.Column("parked_at", sa.Double),
        sa.Column("problem", sa.Text),
    )
    waiting = sa.text("sent_at IS NULL AND parked_at IS NULL")
    op.create_index(
        "nsqkit_outbox_waiting",
        "nsqkit_outbox",
        ["claimed_until"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
    op.create_index("nsqkit_outbox_sent_at", "nsqkit_outbox", ["sent_at"])
    if op.get_bind().dialect.name == "postgresql":
        # Each row is updated once and deleted: vacuum after a share of them that is small.
        op.execute(
            "ALTER TABLE nsqkit_outbox SET (autovacuum_vacuum_scale_factor = 0.01,"
            " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.05,"
            " autovacuum_analyze_scale_factor = 0.02)"
        )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("nsqkit_outbox")
