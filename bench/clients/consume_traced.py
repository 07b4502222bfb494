"""nsqkit's Worker as in consume_nsqkit, with traces; the variant is the share of messages to sample.

Spans are encoded as for OTLP and then dropped, so that the figures include all of the work but the network's.
"""

from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from bench.clients.consume_nsqkit import counting
from bench.clients.tally import Plan, Tally
from nsqkit import Settings, Traces, Worker
from tests.ports import free_port


class Encoder(SpanExporter):
    """Encodes spans, and drops them."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Encode a batch."""
        encode_spans(spans).SerializeToString()
        return SpanExportResult.SUCCESS


def traces(plan: Plan) -> Traces:
    """Return the extension; without a provider if the variant is ``off``."""
    if plan.variant == "off":
        return Traces()
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(float(plan.variant)), shutdown_on_exit=False)
    # No span is dropped, however busy the worker is: a dropped one would cost less.
    provider.add_span_processor(BatchSpanProcessor(Encoder(), max_queue_size=2 * plan.count))
    return Traces(provider)


def main() -> None:
    """Carry out the plan."""
    plan = Plan.given()
    tally = Tally(plan.count)
    handlers = [counting(plan, tally, topic) for topic in plan.topics]
    settings = Settings(nsqd=(plan.address,), admin_port=free_port(), event_loop="asyncio", rdy="auto")
    Worker(handlers, settings=settings, middleware=[traces(plan)]).run()


if __name__ == "__main__":
    main()
