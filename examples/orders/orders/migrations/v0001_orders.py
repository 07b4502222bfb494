"""The first revision: the table of the orders."""

from alembic import op
from sqlalchemy import JSON, BigInteger, Column, Integer, String

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "orders",
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("order_id", String, nullable=False, unique=True),
        Column("idempotency_key", String, nullable=False, unique=True),
        Column("request_hash", String, nullable=False),
        Column("trace_id", String, nullable=False),
        Column("customer_id", String, nullable=False),
        Column("email", String, nullable=False),
        Column("lines", JSON, nullable=False),
        Column("total_cents", BigInteger, nullable=False),
        Column("status", String, nullable=False),
        Column("reason", String, nullable=False),
        Column("created_at_ms", BigInteger, nullable=False),
    )
