"""Create the inbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of handled events."""
    op.create_table(
        "nsqkit_inbox",
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("event_id", sa.Text, nullable=False),
        sa.Column("handled_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint(
            "event_id", "source", "handler", "channel", "topic", name="nsqkit_inbox_pkey"
        ),
    )
    op.create_index("nsqkit_inbox_handled_at", "nsqkit_inbox", ["handled_at"])
    if op.get_bind().dialect.name == "postgresql":
        # Rows come and go all the time: vacuum after a share of them that is small.
        op.execute(
            "ALTER TABLE nsqkit_inbox SET (autovacuum_vacuum_scale_factor = 0.01,"
            " autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.05,"
            " autovacuum_analyze_scale_factor = 0.02)"
        )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("nsqkit_inbox")
