"""Order client: calls the service orders with a deadline, retries and a breaker, and passes the trace on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Self, TypeVar

import grpc
import stamina
from grpc_health.v1 import health_pb2, health_pb2_grpc

from examples.orders import spans
from examples.orders.orders.v1 import orders_pb2, orders_pb2_grpc
from examples.orders.trace import Trace
from nsqkit import Breaker, BreakerOpenError

DEADLINE_S: Final = 3.0
"""Time limit of one request at the edge, over all attempts, in seconds."""
ATTEMPTS: Final = 3
_AWAY: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    }
)
# By default gRPC waits up to two minutes before it connects again.
_RECONNECT: Final = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]


class OrdersAwayError(Exception):
    """The service does not answer.

    Args:
        retry_after_s: Seconds until a retry may succeed; above 0.
    """

    def __init__(self, retry_after_s: float = 1.0) -> None:
        super().__init__(retry_after_s)
        self.retry_after_s = retry_after_s


class InvalidOrderError(Exception):
    """The service refuses a field; the text is ``field: reason``."""


class UnknownOrderError(Exception):
    """There is no such order."""


class KeyReusedError(Exception):
    """The idempotency key belongs to another order."""


_REFUSALS: Final[dict[grpc.StatusCode, type[Exception]]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidOrderError,
    grpc.StatusCode.NOT_FOUND: UnknownOrderError,
    grpc.StatusCode.ALREADY_EXISTS: KeyReusedError,
}


class OrderClient:
    """A client of the service; every method raises ``OrdersAwayError`` if the service does not answer.

    Args:
        channel: A channel to the service.
        breaker: Refuses calls while the service is away.
    """

    def __init__(self, channel: grpc.aio.Channel, breaker: Breaker) -> None:
        self._stub = orders_pb2_grpc.OrderServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        self._health: Any = health_pb2_grpc.HealthStub(channel)  # its published types lack the methods
        self._breaker = breaker

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, address: str, *, open_s: float = 2.0, has_spans: bool = False
    ) -> AsyncIterator[Self]:
        """Use a service until the block ends.

        Args:
            address: ``host:port`` of the service.
            open_s: Seconds for which no call is made after five have failed.
            has_spans: Whether calls have OpenTelemetry's spans.
        """
        around = spans.of_client() if has_spans else ()
        async with grpc.aio.insecure_channel(address, options=_RECONNECT, interceptors=around) as channel:
            yield cls(channel, Breaker("orders", failures=5, open_s=open_s, on=(OrdersAwayError,)))

    async def create(self, request: orders_pb2.CreateOrderRequest, trace: Trace) -> orders_pb2.Order:
        """Place an order. Its idempotency key makes a retry safe.

        Raises:
            InvalidOrderError: If the service refuses a field.
            KeyReusedError: If the key belongs to another order.
        """
        return await self._call(
            lambda left_s, metadata: self._stub.CreateOrder(request, timeout=left_s, metadata=metadata), trace
        )

    async def get(self, order_id: str, trace: Trace) -> orders_pb2.Order:
        """Return an order.

        Raises:
            UnknownOrderError: If there is none with this id.
        """
        request = orders_pb2.GetOrderRequest(order_id=order_id)
        return await self._call(
            lambda left_s, metadata: self._stub.GetOrder(request, timeout=left_s, metadata=metadata), trace
        )

    async def list(self, *, limit: int, after: str, trace: Trace) -> list[orders_pb2.Order]:
        """Return at most *limit* orders behind the order *after*, oldest first.

        Raises:
            UnknownOrderError: If *after* is no order.
        """
        request = orders_pb2.ListOrdersRequest(limit=limit, after=after)

        async def read(left_s: float, metadata: Metadata) -> list[orders_pb2.Order]:
            stream = self._stub.ListOrders(request, timeout=left_s, metadata=metadata)
            return [order async for order in stream]

        return await self._call(read, trace)

    async def is_serving(self) -> bool:
        """Return whether the service says that it is healthy, within a second."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def _call(self, method: Callable[[float, Metadata], Awaitable[T]], trace: Trace) -> T:
        now_s = asyncio.get_running_loop().time
        ends_s = now_s() + DEADLINE_S
        metadata = (("traceparent", trace.traceparent),)
        retries = stamina.retry_context(
            on=OrdersAwayError, attempts=ATTEMPTS, timeout=DEADLINE_S, wait_initial=0.05, wait_max=0.5
        )
        try:
            async for attempt in retries:
                with attempt:
                    async with self._breaker:
                        return await _translated(method(ends_s - now_s(), metadata))
        except BreakerOpenError as error:
            raise OrdersAwayError(error.remaining_s) from None
        raise AssertionError("the last attempt returns or raises")


async def _translated(call: Awaitable[T]) -> T:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        if error.code() in _AWAY:
            raise OrdersAwayError from error
        raise _REFUSALS.get(error.code(), RuntimeError)(error.details()) from error
