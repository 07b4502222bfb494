"""The first revision: stock and reservations."""

from alembic import op
from sqlalchemy import JSON, BigInteger, CheckConstraint, Column, String

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "stock",
        Column("product", String, primary_key=True),
        Column("free", BigInteger, CheckConstraint("free >= 0"), nullable=False),
    )
    op.create_table(
        "reservations",
        Column("order_id", String, primary_key=True),
        Column("status", String, nullable=False),
        Column("lines", JSON, nullable=False),
    )
