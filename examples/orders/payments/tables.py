"""Tables: the charges, in the database of the service payments."""

from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import BigInteger
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from nsqkit.sql import Database

database = Database("payments")


class ChargeStatus(StrEnum):
    """What happened to the money of an order."""

    CHARGED = "charged"
    DECLINED = "declined"
    REFUNDED = "refunded"


class Base(DeclarativeBase):
    """The tables of this service."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {int: BigInteger}


class Charge(Base):
    """The charge of one order."""

    __tablename__ = "charges"

    order_id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    amount_cents: Mapped[int]
