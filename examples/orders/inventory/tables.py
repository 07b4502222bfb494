"""Tables: stock and reservations, in the database of the service inventory."""

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nsqkit.sql import Database

database = Database("inventory")


class ReservationStatus(StrEnum):
    """What an order has of the stock."""

    RESERVED = "reserved"
    REFUSED = "refused"
    RELEASED = "released"


class Base(DeclarativeBase):
    """The tables of this service."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {int: BigInteger}


class Stock(Base):
    """The free pieces of one product."""

    __tablename__ = "stock"

    product: Mapped[str] = mapped_column(primary_key=True)
    free: Mapped[int]


class Reservation(Base):
    """The pieces of one order."""

    __tablename__ = "reservations"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    lines: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
