"""Tables: the orders, in the database of the service orders."""

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nsqkit.sql import Database

database = Database("orders")


class Status(StrEnum):
    """Where an order is; the last two are final."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Base(DeclarativeBase):
    """The tables of this service."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {int: BigInteger}


class OrderRow(Base):
    """One order."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[str] = mapped_column(unique=True)
    idempotency_key: Mapped[str] = mapped_column(unique=True)
    request_hash: Mapped[str]
    trace_id: Mapped[str]
    customer_id: Mapped[str]
    email: Mapped[str]
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    total_cents: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str]
    created_at_ms: Mapped[int]
