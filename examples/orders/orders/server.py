"""Server: the gRPC server of orders, with health and reflection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from examples.orders import spans
from examples.orders.orders.order_book import OrderBook
from examples.orders.orders.service import OrderService
from examples.orders.orders.tables import database
from examples.orders.orders.v1 import orders_pb2, orders_pb2_grpc
from examples.orders.signals import stopped
from nsqkit import Publisher, Settings, configure_traces

NAME: Final = orders_pb2.DESCRIPTOR.services_by_name["OrderService"].full_name
GRACE_S: Final = 5.0
"""Seconds that running calls have to end."""


@asynccontextmanager
async def serving(settings: Settings, *, has_spans: bool = False) -> AsyncIterator[str]:
    """Serve until the block ends, and yield the address, ``host:port``.

    Args:
        settings: ``app.orders_url``, the database; ``app.orders_grpc``, the address, port 0 for a free one;
            ``nsqd``, where orders start their sagas.
        has_spans: Whether calls have OpenTelemetry's spans.
    """
    host, _, port = settings.app_text("orders_grpc", "127.0.0.1:50051").rpartition(":")
    async with (
        Publisher(settings=settings) as publisher,
        database.outbox(publisher, settings=settings, source="orders") as outbox,
    ):
        server = grpc.aio.server(interceptors=spans.of_server() if has_spans else ())
        service = OrderService(OrderBook(outbox))
        orders_pb2_grpc.add_OrderServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call] # generated
        status = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(status, server)
        reflection.enable_server_reflection((NAME, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        bound = server.add_insecure_port(f"{host}:{port}")
        await server.start()
        for name in ("", NAME):
            await status.set(name, health_pb2.HealthCheckResponse.SERVING)
        try:
            yield f"{host}:{bound}"
        finally:
            await status.enter_graceful_shutdown()
            await server.stop(GRACE_S)


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    settings = Settings.load()
    has_spans = configure_traces(replace(settings, service="orders"))
    async with serving(settings, has_spans=has_spans) as address:
        print(f"orders: gRPC on {address}", flush=True)
        await stopped()


if __name__ == "__main__":
    asyncio.run(main())
