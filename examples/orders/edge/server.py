"""Server: the HTTP server of the edge. Settings: ``edge_http`` (its address), ``orders_grpc``."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import uvicorn
from fastapi import FastAPI, Response

from examples.orders.edge import problems
from examples.orders.edge.order_client import OrderClient
from examples.orders.edge.v1 import create_v1
from nsqkit import Settings, configure_traces


def create_app(orders: OrderClient) -> FastAPI:
    """Return the application with all versions of the API.

    Args:
        orders: The service of orders.
    """
    # Each version has a document of its own. Spans of requests are made by FastAPI, if traces are on.
    app = FastAPI(openapi_url=None, telemetry={"exclude": _is_probe, "operation_spans": False})
    problems.install(app)
    app.mount("/api/v1", create_v1(orders))

    @app.get("/readyz")
    async def ready() -> Response:
        is_ready = await orders.is_serving()
        return Response("ready" if is_ready else "orders does not answer", 200 if is_ready else 503)

    return app


def _is_probe(scope: Mapping[str, object]) -> bool:
    return scope["path"] == "/readyz"


async def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    settings = Settings.load()
    has_spans = configure_traces(replace(settings, service="edge"))
    host, _, port = settings.app_text("edge_http", "127.0.0.1:8000").rpartition(":")
    address = settings.app_text("orders_grpc", "127.0.0.1:50051")
    async with OrderClient.connected(address, has_spans=has_spans) as orders:
        config = uvicorn.Config(create_app(orders), host=host, port=int(port), log_level="warning")
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
