"""Tracing: decides which messages have spans, and starts them on an OpenTelemetry tracer."""

import random
from collections.abc import Sequence
from typing import Any, Self

from opentelemetry import trace
from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    NoOpTracer,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
)

from nsqkit.handler.batch import Delivery
from nsqkit.handler.context import Context
from nsqkit.handler.outgoing import Publish
from nsqkit.policy.trace_context import TraceContext
from nsqkit.policy.trace_sampling import Sampling
from nsqkit.telemetry.traces import attributes, conventions
from nsqkit.version import __version__

_LONGEST_STATE = 512


class Tracing:
    """Starts the spans of messages.

    OpenTelemetry's own code decides whether to sample after most of the cost of a span. The rules of its
    built-in samplers are known (:class:`Sampling`), so unsampled messages need no call of it. The tracer then
    samples every span that is started. It is nsqkit's own: those of other libraries keep their sampler.

    Args:
        tracer: The tracer.
        sampling: Decides which messages to trace; None if only the tracer can.
        has_parent: Whether the span of a single message is a child of the creating span, in its trace;
            otherwise it begins a new trace, with a link to the creating span.
    """

    def __init__(self, tracer: trace.Tracer, sampling: Sampling | None, *, has_parent: bool) -> None:
        self._tracer = tracer
        self._sampling = sampling
        self._has_parent = has_parent

    @classmethod
    def of(cls, provider: trace.TracerProvider, *, has_parent: bool) -> Self | None:
        """Return the tracing with a provider; None if it never records a span."""
        if isinstance(provider, trace.ProxyTracerProvider):  # the program has configured none
            return None
        tracer = provider.get_tracer("nsqkit", __version__, conventions.SCHEMA_URL)
        if isinstance(tracer, NoOpTracer):
            return None
        sampler = getattr(provider, "sampler", None)
        sampling = None if sampler is None else Sampling.of(sampler.get_description())
        if sampling is not None and sampling.is_off:
            return None
        if sampling is not None and isinstance(tracer, SdkTracer):
            tracer.sampler = ALWAYS_ON
        return cls(tracer, sampling, has_parent=has_parent)

    def may_sample(self, creator: TraceContext | None) -> bool:
        """Return whether to start a span; it may still be one that does not record, if a sampler is unknown.

        Args:
            creator: Trace context that caused the span; None without one.
        """
        return self._sampling is None or self._sampling.samples(creator, draw=random.random())  # noqa: S311 - of no secret

    def process(self, ctx: Context, creator: TraceContext | None, tracestate: str | None) -> Span:
        """Start the span of one delivery, linked to the creator of its event or as its child.

        Args:
            ctx: Context of the message.
            creator: Trace context of the event's publisher; None without one.
            tracestate: Vendor-specific part of that trace context; None without one.
        """
        parent, links = OtelContext(), []
        if creator is not None:
            found = _span_context(creator, tracestate)
            if self._has_parent:
                parent = trace.set_span_in_context(NonRecordingSpan(found), parent)
            else:
                links.append(Link(found))
        return self._tracer.start_span(
            f"process {ctx.topic}",
            parent,
            kind=SpanKind.CONSUMER,
            attributes=attributes.of_message(ctx),
            links=links,
        )

    def process_batch(self, batch: Sequence[Delivery[Any]], creators: Sequence[TraceContext | None]) -> Span:
        """Start the span of one call with a batch, with a link to the creator of each event.

        Args:
            batch: The deliveries; 1 or more.
            creators: Trace context of each event's publisher; None without one.
        """
        links = [
            Link(_span_context(creator, each.ctx.tracestate), {conventions.MESSAGE_ID: each.ctx.message_id})
            for each, creator in zip(batch, creators, strict=True)
            if creator is not None
        ]
        return self._tracer.start_span(
            f"process {batch[0].ctx.topic}",
            OtelContext(),
            kind=SpanKind.CONSUMER,
            attributes=attributes.of_batch(batch),
            links=links,
        )

    def send(self, publish: Publish, parent: Span) -> Span:
        """Start the span of one publish.

        Args:
            publish: The message to publish.
            parent: The span that publishes; an invalid one for none.
        """
        return self._tracer.start_span(
            f"send {publish.topic}",
            trace.set_span_in_context(parent),
            kind=SpanKind.PRODUCER,
            attributes=attributes.of_publish(publish),
        )

    def hop(self, topic: str, creator: TraceContext | None, tracestate: str | None, began_ns: int) -> Span:
        """Start the span of a message that a bridge has passed on, as a child of its creator's.

        Args:
            topic: The topic of NSQ that it was published to.
            creator: Trace context of the message's creator; None without one.
            tracestate: Vendor-specific part of that trace context; None without one.
            began_ns: When it was published, nanoseconds since 1970 UTC.
        """
        parent = OtelContext()
        if creator is not None:
            parent = trace.set_span_in_context(NonRecordingSpan(_span_context(creator, tracestate)), parent)
        return self._tracer.start_span(
            f"send {topic}",
            parent,
            kind=SpanKind.PRODUCER,
            attributes=attributes.of_hop(topic),
            start_time=began_ns,
        )


def _span_context(creator: TraceContext, tracestate: str | None) -> SpanContext:
    state = TraceState.from_header([tracestate]) if tracestate and len(tracestate) <= _LONGEST_STATE else None
    return SpanContext(
        creator.trace_id,
        creator.span_id,
        is_remote=True,
        trace_flags=TraceFlags(creator.flags),
        trace_state=state,
    )
