"""V1: the REST API, version 1, as an application by itself: a v2 is another one, mounted next to it."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Query, Request, Response

from examples.orders.edge import problems
from examples.orders.edge.models import Line, NewOrder, Order, OrderPage, Status
from examples.orders.edge.order_client import OrderClient
from examples.orders.orders.v1 import orders_pb2
from examples.orders.trace import Trace

_STATUS = {
    orders_pb2.ORDER_STATUS_PENDING: Status.PENDING,
    orders_pb2.ORDER_STATUS_CONFIRMED: Status.CONFIRMED,
    orders_pb2.ORDER_STATUS_CANCELLED: Status.CANCELLED,
}


def trace_of(request: Request, response: Response) -> Trace:
    """Continue the trace of the request's ``traceparent``, and name it in the response."""
    trace = Trace.of(request.headers.get("traceparent"))
    response.headers["traceparent"] = trace.traceparent
    return trace


Traced = Annotated[Trace, Depends(trace_of)]
IdempotencyKey = Annotated[
    str, Header(min_length=1, max_length=128, description="The same key and body: the same answer.")
]


def create_v1(orders: OrderClient) -> FastAPI:
    """Return the application.

    Args:
        orders: The service of orders.
    """
    app = FastAPI(title="Orders", version="1", description="Places orders, and says what happens to them.")
    problems.install(app)

    @app.post("/orders", status_code=201, responses=problems.documented(409, 422, 503))
    async def place_order(
        new: NewOrder, idempotency_key: IdempotencyKey, request: Request, response: Response, trace: Traced
    ) -> Order:
        """Place an order. It is pending at first; `Location` says where to see what happens to it."""
        wanted = orders_pb2.CreateOrderRequest(
            idempotency_key=idempotency_key,
            customer_id=new.customer_id,
            email=new.email,
            lines=[orders_pb2.Line(**line.model_dump()) for line in new.lines],
        )
        placed = await orders.create(wanted, trace)
        response.headers["Location"] = request.url_for("get_order", order_id=placed.order_id).path
        return _order(placed)

    @app.get("/orders/{order_id}", responses=problems.documented(404, 422, 503))
    async def get_order(order_id: str, trace: Traced) -> Order:
        """Return an order."""
        return _order(await orders.get(order_id, trace))

    @app.get("/orders", responses=problems.documented(404, 422, 503))
    async def list_orders(
        trace: Traced,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        after: Annotated[str, Query(max_length=64, description="The `next` of the page before.")] = "",
    ) -> OrderPage:
        """Return a page of orders, oldest first."""
        found = await orders.list(limit=limit + 1, after=after, trace=trace)
        page = [_order(each) for each in found[:limit]]
        return OrderPage(orders=page, next=page[-1].order_id if len(found) > limit else None)

    return app


def _order(found: orders_pb2.Order) -> Order:
    return Order(
        order_id=found.order_id,
        status=_STATUS[found.status],
        reason=found.reason,
        customer_id=found.customer_id,
        lines=[
            Line(product=line.product, quantity=line.quantity, amount_cents=line.amount_cents)
            for line in found.lines
        ],
        total_cents=found.total_cents,
        created_at=datetime.fromtimestamp(found.created_at_ms / 1000, UTC),
        trace_id=found.trace_id,
    )
