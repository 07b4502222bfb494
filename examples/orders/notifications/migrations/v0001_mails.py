"""The first revision: the mails."""

from alembic import op
from sqlalchemy import Column, String

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "mails",
        Column("message_id", String, primary_key=True),
        Column("order_id", String, nullable=False, index=True),
        Column("subject", String, nullable=False),
    )
