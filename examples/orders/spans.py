"""Spans: OpenTelemetry's own interceptors of gRPC calls, imported only with traces; probes have no spans."""

from collections.abc import Sequence

import grpc


def of_client() -> Sequence[grpc.aio.ClientInterceptor]:
    """Return the interceptors of a channel."""
    from opentelemetry.instrumentation import grpc as traced  # noqa: PLC0415 - without traces it is not needed

    filter_ = traced.filters.negate(traced.filters.health_check())
    found: list[grpc.aio.ClientInterceptor] = traced.aio_client_interceptors(filter_=filter_)  # type: ignore[no-untyped-call] # it has no types
    return found


def of_server() -> Sequence[grpc.aio.ServerInterceptor]:
    """Return the interceptors of a server."""
    from opentelemetry.instrumentation import grpc as traced  # noqa: PLC0415 - as above

    filter_ = traced.filters.negate(traced.filters.health_check())
    return [traced.aio_server_interceptor(filter_=filter_)]  # type: ignore[no-untyped-call] # it has no types
