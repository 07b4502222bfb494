"""The first revision: the charges."""

from alembic import op
from sqlalchemy import BigInteger, Column, String

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "charges",
        Column("order_id", String, primary_key=True),
        Column("status", String, nullable=False),
        Column("amount_cents", BigInteger, nullable=False),
    )
