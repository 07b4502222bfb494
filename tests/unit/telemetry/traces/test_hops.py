"""Hops: a record that a bridge has published has a span in the trace of its creator."""

from collections.abc import Sequence

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON, Sampler
from opentelemetry.trace import SpanKind

from nsqkit.telemetry.traces.hops import Hops

CREATOR = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = b'{"specversion":"1.0","type":"t","source":"s","id":"i","traceparent":"%s","data":1}'
AT_NS = 1_700_000_000_000_000_000


def _spans(*bodies: bytes, sampler: Sampler = DEFAULT_ON) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Hops(provider).published("hopped", bodies, AT_NS)
    return exporter.get_finished_spans()


def test_a_span_is_the_child_of_the_creators() -> None:
    (span,) = _spans(EVENT % CREATOR.encode())
    assert (span.name, span.kind, span.start_time) == ("send hopped", SpanKind.PRODUCER, AT_NS)
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" in CREATOR
    assert dict(span.attributes or {}) == {
        "messaging.system": "nsq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "hopped",
    }


@pytest.mark.parametrize("body", [b"\x00", b"{}", EVENT % b"no trace"])
def test_without_a_creator_it_begins_a_trace(body: bytes) -> None:
    (span,) = _spans(body)
    assert span.parent is None


def test_what_is_not_sampled_has_no_span() -> None:
    assert _spans(EVENT % (CREATOR[:-1] + "0").encode()) == ()
    assert _spans(EVENT % CREATOR.encode(), sampler=ALWAYS_OFF) == ()


def test_without_a_configured_provider_there_is_none() -> None:
    Hops(trace.ProxyTracerProvider()).published("hopped", [b"1"], AT_NS)
