"""Service: the gRPC methods of orders. It checks requests and translates errors."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from sqlalchemy.exc import SQLAlchemyError

from examples.orders.orders.order_book import (
    KeyReusedError,
    NewOrder,
    OrderBook,
    PricedLine,
    UnknownOrderError,
)
from examples.orders.orders.tables import OrderRow, Status
from examples.orders.orders.v1 import orders_pb2, orders_pb2_grpc
from examples.orders.trace import Trace

LONGEST_S: Final = 10.0
"""Time limit of a call whose client has set no deadline, in seconds."""
MOST_LINES: Final = 500
_LONGEST_KEY: Final = 128
_MOST: Final = 2**53  # what JSON's readers can hold
_STATUS: Final = {
    Status.PENDING: orders_pb2.ORDER_STATUS_PENDING,
    Status.CONFIRMED: orders_pb2.ORDER_STATUS_CONFIRMED,
    Status.CANCELLED: orders_pb2.ORDER_STATUS_CANCELLED,
}

_log: Final = logging.getLogger(__name__)

Call = grpc.aio.ServicerContext[Any, Any]


class InvalidRequestError(Exception):
    """A field of a request has a wrong value; the text is ``field: what it must be``."""


class OrderService(orders_pb2_grpc.OrderServiceServicer):
    """The methods of ``orders.proto``.

    Args:
        book: The orders.
    """

    def __init__(self, book: OrderBook) -> None:
        self._book = book

    async def CreateOrder(self, request: orders_pb2.CreateOrderRequest, context: Call) -> orders_pb2.Order:  # noqa: N802 - gRPC's name
        """Place an order; repeat the first answer if it was placed before."""
        async with _answering(context):
            row = await self._book.place(_new_order(request), _trace(context))
            placed = _message(row)
            placed.status, placed.reason = orders_pb2.ORDER_STATUS_PENDING, ""  # the first answer again
            return placed

    async def GetOrder(self, request: orders_pb2.GetOrderRequest, context: Call) -> orders_pb2.Order:  # noqa: N802
        """Return an order."""
        async with _answering(context):
            return _message(await self._book.get(request.order_id))

    async def ListOrders(  # noqa: N802
        self, request: orders_pb2.ListOrdersRequest, context: Call
    ) -> AsyncIterator[orders_pb2.Order]:
        """Stream orders, oldest first."""
        async with _answering(context):
            if request.limit < 0:
                raise InvalidRequestError("limit: must be 0 or more")
            async for row in self._book.list(limit=request.limit, after=request.after):
                yield _message(row)


@asynccontextmanager
async def _answering(context: Call) -> AsyncIterator[None]:
    """Bound the time of a call, and answer with the status of its error."""
    try:
        async with asyncio.timeout(context.time_remaining() or LONGEST_S):
            yield
    except TimeoutError:
        await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the time limit of the call is over")
    except InvalidRequestError as error:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
    except UnknownOrderError as error:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no order {error}")
    except KeyReusedError as error:
        await context.abort(grpc.StatusCode.ALREADY_EXISTS, f"the key {error} belongs to another order")
    except SQLAlchemyError:
        _log.exception("the database of orders failed")
        await context.abort(grpc.StatusCode.UNAVAILABLE, "the database of orders does not answer")


def _trace(context: Call) -> Trace:
    metadata = dict(context.invocation_metadata() or ())
    found = metadata.get("traceparent")
    return Trace.of(found if isinstance(found, str) else None)


def _new_order(request: orders_pb2.CreateOrderRequest) -> NewOrder:
    for problem in _problems(request):
        raise InvalidRequestError(problem)
    lines = tuple(PricedLine(line.product, line.quantity, line.amount_cents) for line in request.lines)
    return NewOrder(request.idempotency_key, request.customer_id, request.email, lines)


def _problems(request: orders_pb2.CreateOrderRequest) -> Iterator[str]:
    if not 1 <= len(request.idempotency_key) <= _LONGEST_KEY:
        yield f"idempotency_key: must have 1 to {_LONGEST_KEY} characters"
    if not request.customer_id:
        yield "customer_id: must not be empty"
    if not 1 <= len(request.lines) <= MOST_LINES:
        yield f"lines: must be 1 to {MOST_LINES}"
    for place, line in enumerate(request.lines):
        if not line.product:
            yield f"lines.{place}.product: must not be empty"
        if not 1 <= line.quantity < _MOST:
            yield f"lines.{place}.quantity: must be 1 or more"
        if not 0 <= line.amount_cents < _MOST // MOST_LINES:
            yield f"lines.{place}.amount_cents: must be 0 or more"


def _message(row: OrderRow) -> orders_pb2.Order:
    return orders_pb2.Order(
        order_id=row.order_id,
        status=_STATUS[Status(row.status)],
        reason=row.reason,
        customer_id=row.customer_id,
        lines=[orders_pb2.Line(**line) for line in row.lines],
        total_cents=row.total_cents,
        created_at_ms=row.created_at_ms,
        trace_id=row.trace_id,
        email=row.email,
    )
