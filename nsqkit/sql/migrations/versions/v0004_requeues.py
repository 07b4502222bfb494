"""Let the inbox count the attempts of events whose requeue is a row of the outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column of attempts."""
    op.add_column("nsqkit_inbox", sa.Column("attempts", sa.Integer))


def downgrade() -> None:
    """Drop the column; requeued events count as handled."""
    op.drop_column("nsqkit_inbox", "attempts")
