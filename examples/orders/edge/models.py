"""Models: the JSON of the REST API, version 1."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=64)]


class NewLine(BaseModel):
    """One product of a new order."""

    model_config = ConfigDict(extra="forbid")

    product: Text
    quantity: Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
    amount_cents: Annotated[
        int, Field(ge=0, le=100_000_000, strict=True, description="Price of the line, not of a piece.")
    ]


class NewOrder(BaseModel):
    """What a customer orders."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Text
    email: Annotated[str, Field(max_length=254, pattern=r"^([^@\s]+@[^@\s]+)?$")] = ""
    lines: Annotated[list[NewLine], Field(min_length=1, max_length=500)]


class Status(StrEnum):
    """Where an order is; the last two are final."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Line(BaseModel):
    """One product of an order."""

    product: str
    quantity: int
    amount_cents: int


class Order(BaseModel):
    """An order."""

    order_id: str
    status: Status
    reason: Annotated[str, Field(description="Why it was cancelled; else empty.")]
    customer_id: str
    lines: list[Line]
    total_cents: int
    created_at: datetime
    trace_id: Annotated[str, Field(description="Of the request that placed it; its events have it too.")]


class OrderPage(BaseModel):
    """Some orders, oldest first."""

    orders: list[Order]
    next: Annotated[str | None, Field(description="Give it as `after` for the next page; null at the end.")]


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str
    reason: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []
