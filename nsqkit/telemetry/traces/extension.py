"""The extension: spans around handlers' calls, batches and publishes, and trace contexts in events."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Literal

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode

from nsqkit.errors import PublishError
from nsqkit.handler.batch import Delivery
from nsqkit.handler.context import Context
from nsqkit.handler.extension import Extension, Next, NextBatch
from nsqkit.handler.outgoing import Publish
from nsqkit.handler.recorder import breaker_watch
from nsqkit.policy.leaves import type_name
from nsqkit.policy.outcome import Duplicate, Outcome
from nsqkit.policy.redaction import describe
from nsqkit.policy.trace_context import TraceContext, parse_traceparent
from nsqkit.policy.verdict import OutcomeLabel, RequeueReason, Verdict
from nsqkit.telemetry.traces import conventions as names
from nsqkit.telemetry.traces.flush import flush
from nsqkit.telemetry.traces.recorders import MessageRecorder, ProcessSpan
from nsqkit.telemetry.traces.tracing import Tracing

Creator = Literal["link", "parent"]
_GIVEN_UP = frozenset({OutcomeLabel.DEAD_LETTER, OutcomeLabel.DISCARD})


class Traces(Extension):
    """Makes OpenTelemetry spans of published and handled messages.

    Give it to a ``Worker``, a ``Publisher`` or a ``BlockingPublisher`` as ``middleware=[Traces()]``. It is
    off, and costs nothing, unless a tracer provider is configured before the worker starts or the publisher
    is created. Messages that are not sampled cost no call of OpenTelemetry.

    Args:
        provider: The tracer provider; by default the global one.
        creator: How the span of a handled message refers to the span that published its event: ``link`` to
            begin a new trace for each delivery, or ``parent`` to stay in the publisher's trace. A batch
            always has links.

    Raises:
        ValueError: If *creator* is neither ``link`` nor ``parent``.
    """

    def __init__(self, provider: trace.TracerProvider | None = None, *, creator: Creator = "link") -> None:
        if creator not in {"link", "parent"}:
            raise ValueError(f"Traces(creator={creator!r}): give 'link' or 'parent'")
        self._provider = provider
        self._has_parent = creator == "parent"
        self._tracing: Tracing | None = None

    @property
    def is_on(self) -> bool:
        """Whether a provider is configured that may record spans."""
        if self._tracing is None:
            provider = self._provider or trace.get_tracer_provider()
            self._tracing = Tracing.of(provider, has_parent=self._has_parent)
        return self._tracing is not None

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        """Call the handler in the span of its message, if it is sampled."""
        creator = parse_traceparent(ctx.traceparent)
        if not self._on.may_sample(creator):
            return await call_next(event, ctx)
        span = self._on.process(ctx, creator, ctx.tracestate)
        if not span.is_recording():
            return await call_next(event, ctx)
        process = ProcessSpan(span)
        ctx.recorders += (MessageRecorder(process, {}, is_single=True),)
        with _current(process):
            return await call_next(event, ctx)

    async def around_batch(self, batch: Sequence[Delivery[Any]], call_next: NextBatch) -> Any:
        """Call the handler in a span with a link for each message, if one of them is sampled."""
        creators = [parse_traceparent(each.ctx.traceparent) for each in batch]
        for each in batch:
            _leave_failed_batch(each.ctx)
        if not any(map(self._on.may_sample, creators)):
            return await call_next(batch)
        span = self._on.process_batch(batch, creators)
        if not span.is_recording():
            return await call_next(batch)
        process = ProcessSpan(span, len(batch))
        for each in batch:
            fields = {names.MESSAGE_ID: each.ctx.message_id}
            each.ctx.recorders += (MessageRecorder(process, fields, is_single=False),)
        with _current(process):
            try:
                return await call_next(batch)
            except BaseException as error:
                process.fail(error, "", describe(error))
                raise

    def on_publish(self, publish: Publish) -> None:
        """Start the span of a publish, and put its context into the event."""
        if "traceparent" in publish.attributes:  # such as that of an event that was created elsewhere
            return
        recorder = None if publish.ctx is None else _recorder_of(publish.ctx)
        if publish.ctx is not None and recorder is None:
            creator = parse_traceparent(publish.ctx.traceparent)
            _pass_on(publish, creator, publish.ctx.tracestate)
            return
        parent = trace.get_current_span()
        if recorder is not None and not parent.get_span_context().is_valid:
            parent = recorder.process.span  # in a thread of the handler's own
        self._send(publish, parent)

    def on_unhandled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        """Make a span for a message that is given up or of an unknown type: its handler is not called."""
        if verdict.label not in _GIVEN_UP and verdict.reason is not RequeueReason.UNKNOWN_TYPE:
            return
        extensions = {} if ctx.envelope is None else ctx.envelope.extensions
        creator = parse_traceparent(_text(extensions.get("traceparent")))
        if self._on.may_sample(creator):
            span = self._on.process(ctx, creator, _text(extensions.get("tracestate")))
            MessageRecorder(ProcessSpan(span), {}, is_single=True).settled(verdict, error)

    async def close(self) -> None:
        """Export the spans that wait for it, within a few seconds."""
        await flush(self._provider or trace.get_tracer_provider())

    @property
    def _on(self) -> Tracing:
        if self._tracing is None:
            raise RuntimeError("no hook is called while the extension is off")
        return self._tracing

    def _send(self, publish: Publish, parent: Span) -> None:
        found = parent.get_span_context()
        context = TraceContext(found.trace_id, found.span_id, found.trace_flags) if found.is_valid else None
        state = found.trace_state.to_header() if found.trace_state else None
        if not self._on.may_sample(context):
            _pass_on(publish, context, state)
            return
        span = self._on.send(publish, parent)
        made = span.get_span_context()
        publish.attributes["traceparent"] = str(TraceContext(made.trace_id, made.span_id, made.trace_flags))
        if made.trace_state:
            publish.attributes.setdefault("tracestate", made.trace_state.to_header())
        if span.is_recording():
            publish.when_done.append(lambda error: _end_send(span, error, has_ctx=publish.ctx is not None))


def _end_send(span: Span, error: BaseException | None, *, has_ctx: bool) -> None:
    """End the span of a publish; discard that of a message which was not sent, as its handler failed."""
    if error is not None:
        is_sent = isinstance(error, PublishError) and error.address
        if has_ctx and not is_sent:
            return
        span.set_attribute(names.ERROR_TYPE, type_name(error))
        span.set_status(Status(StatusCode.ERROR, describe(error)))
    span.end()


def _pass_on(publish: Publish, creator: TraceContext | None, tracestate: str | None) -> None:
    """Let the event say that its flow is not sampled, so that no later service decides again."""
    context = creator or TraceContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, 0)
    publish.attributes["traceparent"] = str(context.unsampled())
    if creator is not None and tracestate:
        publish.attributes.setdefault("tracestate", tracestate)


def _recorder_of(ctx: Context) -> MessageRecorder | None:
    return next((each for each in ctx.recorders if isinstance(each, MessageRecorder)), None)


def _leave_failed_batch(ctx: Context) -> None:
    """Release a message that is handled again alone from the span of its failed batch."""
    if (recorder := _recorder_of(ctx)) is not None:
        recorder.process.leave()
        ctx.recorders = tuple(each for each in ctx.recorders if each is not recorder)


@contextmanager
def _current(process: ProcessSpan) -> Iterator[None]:
    """Make a span the current one of the task and of the threads that it starts."""
    token = otel_context.attach(trace.set_span_in_context(process.span))
    watch = breaker_watch.set(process.breaker)
    try:
        yield
    finally:
        with suppress(ValueError):  # Python closes a discarded coroutine in another context
            breaker_watch.reset(watch)
            otel_context.detach(token)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
