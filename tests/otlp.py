"""A receiver of traces: answers OTLP over HTTP as a collector does, and keeps the spans that arrive."""

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.waiting import PATIENCE_S

Fields = dict[str, str | int | float]


@dataclass(frozen=True)
class ReceivedSpan:
    """One span, as it was sent.

    Attributes:
        service: ``service.name`` of its resource.
        scope: Name of the library that made it.
        schema_url: Version of the conventions that its attributes follow.
        links: Spans that it is linked to, as ``trace-span`` in hexadecimal digits.
    """

    service: str
    scope: str
    schema_url: str
    name: str
    kind: str
    is_error: bool
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    fields: Fields
    events: tuple[tuple[str, Fields], ...] = field(default=())

    @property
    def place(self) -> str:
        """Trace and span, as in ``links``."""
        return f"{self.trace_id}-{self.span_id}"


class Receiver:
    """The receiver.

    Attributes:
        endpoint: For ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        spans: The spans that have arrived.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.spans: list[ReceivedSpan] = []

    def named(self, name: str, service: str = "") -> list[ReceivedSpan]:
        """Return the spans of a name, in the order of their end."""
        return [span for span in self.spans if span.name == name and service in {"", span.service}]

    def add(self, body: bytes) -> None:
        """Keep the spans of one request."""
        for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = str(_fields(sent.resource.attributes)["service.name"])
            for scoped in sent.scope_spans:
                self.spans += [
                    _received(span, service, scoped.scope.name, scoped.schema_url) for span in scoped.spans
                ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a free port."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            receiver.add(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    receiver = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE_S)


def _received(span: trace_pb2.Span, service: str, scope: str, schema_url: str) -> ReceivedSpan:
    return ReceivedSpan(
        service=service,
        scope=scope,
        schema_url=schema_url,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        is_error=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=tuple(f"{each.trace_id.hex()}-{each.span_id.hex()}" for each in span.links),
        fields=_fields(span.attributes),
        events=tuple((each.name, _fields(each.attributes)) for each in span.events),
    )


def _fields(pairs: "Iterable[KeyValue]") -> Fields:
    return {each.key: _value(each.value) for each in pairs}


def _value(value: AnyValue) -> str | int | float:
    found: str | int | float = getattr(value, value.WhichOneof("value") or "")
    return found
