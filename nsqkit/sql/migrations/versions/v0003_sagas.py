"""Create the instances of sagas."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of instances."""
    op.create_table(
        "nsqkit_saga",
        sa.Column("saga", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("correlation_id", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("wake_at", sa.Double),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("progress", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("key", "saga", name="nsqkit_saga_pkey"),
    )
    op.create_index("nsqkit_saga_correlation_id", "nsqkit_saga", ["correlation_id", "saga"], unique=True)
    op.create_index("nsqkit_saga_changed_at", "nsqkit_saga", ["changed_at"])
    op.create_index("nsqkit_saga_status", "nsqkit_saga", ["saga", "status", "changed_at"])
    waking = sa.text("wake_at IS NOT NULL")
    op.create_index(
        "nsqkit_saga_wake_at", "nsqkit_saga", ["wake_at"], postgresql_where=waking, sqlite_where=waking
    )
    if op.get_bind().dialect.name == "postgresql":
        # Each row is updated at every step: vacuum after a share of them that is small.
        op.execute(
            "ALTER TABLE nsqkit_saga SET (autovacuum_vacuum_scale_factor = 0.02,"
            " autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.02)"
        )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("nsqkit_saga")
