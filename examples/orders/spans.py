"""Spans: OpenTelemetry's own interceptors of gRPC calls; health checks have no spans."""

from collections.abc import Sequence

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
from opentelemetry.instrumentation.grpc.filters import health_check, negate


def of_client() -> Sequence[grpc.aio.ClientInterceptor]:
    """Return the interceptors of a channel."""
    found: Sequence[grpc.aio.ClientInterceptor] = aio_client_interceptors(  # type: ignore[no-untyped-call] # it has no types
        filter_=negate(health_check())
    )
    return found


def of_server() -> Sequence[grpc.aio.ServerInterceptor]:
    """Return the interceptors of a server."""
    return [aio_server_interceptor(filter_=negate(health_check()))]  # type: ignore[no-untyped-call] # as above
