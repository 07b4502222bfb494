"""Traces: which spans a message has, what they say, and that whoever does not ask for them pays nothing."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import Context as EmptyContext
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_OFF,
    DEFAULT_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import SpanKind, StatusCode

from nsqkit import (
    BatchHandler,
    BlockingPublisher,
    Breaker,
    Context,
    DeadLetter,
    Delivery,
    Exponential,
    Extension,
    Handler,
    KillSwitch,
    Outcome,
    Publish,
    Publisher,
    PublishError,
    Requeue,
    RetryPolicy,
    Traces,
    event,
)
from nsqkit.devbroker import DevBroker
from nsqkit.handler.current import log_fields
from nsqkit.handler.extension import Hooks
from nsqkit.handler.outgoing import Preparer
from nsqkit.policy.trace_context import TraceContext, parse_traceparent
from nsqkit.policy.verdict import LEASE_LOST, SHUTDOWN, SUCCESS
from nsqkit.testing import Harness
from tests.unit.publishing.sent import NOBODY, Sent, told
from tests.unit.reading import take
from tests.unit.runtime.bench import Bench, ending


@event("traced.ordered", version=1, topic="traced")
@dataclass
class Ordered:
    n: int = 0


@event("traced.billed", version=1, topic="traced.billed")
@dataclass
class Billed:
    n: int = 0


CREATOR = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = CREATOR.removesuffix("01") + "00"


class Flipped(Sampler):
    """A sampler that only its own code can decide."""

    def __init__(self, *, samples: bool) -> None:
        self._sampler = ALWAYS_ON if samples else ALWAYS_OFF

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return self._sampler.should_sample(*args, **kwargs)

    def get_description(self) -> str:
        return "Flipped"


class Recorded:
    """A tracer provider that keeps its spans in memory."""

    def __init__(self, sampler: Sampler = DEFAULT_ON) -> None:
        self._memory = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))

    def traces(self, **options: Any) -> Traces:
        return Traces(self.provider, **options)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._memory.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


def ordering(behave: Callable[[Context], Any] = lambda _: None, **options: Any) -> type[Handler[Ordered]]:
    class Bill(Handler[Ordered], **({"channel": "billing"} | options)):
        async def handle(self, event: Ordered, ctx: Context) -> Outcome | None:
            outcome: Outcome | None = behave(ctx)
            return outcome

    return Bill


def failing(ctx: Context) -> None:
    raise ValueError("no such order")


class From(Extension):
    """Gives events the trace context of another service."""

    def __init__(self, traceparent: str) -> None:
        self._traceparent = traceparent

    def on_publish(self, publish: Publish) -> None:
        publish.attributes |= {"traceparent": self._traceparent, "tracestate": "vendor=1"}


async def body(traceparent: str | None = CREATOR, n: int = 0) -> bytes:
    """Return the body of an event with a trace context."""
    hooks = Hooks.of([From(traceparent)] if traceparent else [])
    made = Preparer(source="shop", max_msg_bytes=9999, hooks=hooks.on_publish).event(Ordered(n), None, 0.0)
    assert made is not None
    return made.body


async def play(
    kind: Any, traces: Traces, *, traceparent: str | None = CREATOR, count: int = 1, raw: bytes | None = None
) -> Harness:
    async with Harness([kind], middleware=[traces]) as h:
        for n in range(count):
            await h.publish_raw("traced", raw or await body(traceparent, n))
        await h.settle(through_delays=True)
    return h


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(each.name, dict(each.attributes or {})) for each in span.events]


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def context_of(span: ReadableSpan) -> TraceContext:
    found = span.context
    assert found is not None
    return TraceContext(found.trace_id, found.span_id, found.trace_flags)


def links(span: ReadableSpan) -> list[str]:
    found = (each.context for each in span.links)
    return [str(TraceContext(each.trace_id, each.span_id, each.trace_flags)) for each in found]


class TestProcess:
    """The span of a handled message."""

    async def test_it_is_linked_to_the_creator_in_a_trace_of_its_own(self, recorded: Recorded) -> None:
        await play(ordering(), recorded.traces())
        (span,) = recorded.spans
        assert (span.name, span.kind, span.parent) == ("process traced", SpanKind.CONSUMER, None)
        assert links(span) == [CREATOR]
        assert span.links[0].context.trace_state.to_header() == "vendor=1"
        assert f"{context_of(span).trace_id:032x}" not in CREATOR
        assert span.status.status_code is StatusCode.UNSET

    @pytest.mark.parametrize(
        ("sampler", "count"),
        [pytest.param(DEFAULT_ON, 1, id="sampled"), pytest.param(DEFAULT_OFF, 0, id="not")],
    )
    async def test_its_trace_is_the_exemplar_of_the_duration(self, sampler: Sampler, count: int) -> None:
        recorded = Recorded(sampler)
        traces = recorded.traces()
        assert traces.is_on
        bench = Bench(ending(None), middleware=[traces.around_handle])
        await bench.run()
        assert len(recorded.spans) == count
        trace_ids = [f"{context_of(span).trace_id:032x}" for span in recorded.spans]
        assert [trace_id for trace_id, *_ in bench.meter.exemplars] == trace_ids

    async def test_on_request_it_is_a_child_of_the_creator(self, recorded: Recorded) -> None:
        await play(ordering(), recorded.traces(creator="parent"))
        (span,) = recorded.spans
        assert span.parent is not None
        assert str(TraceContext(span.parent.trace_id, span.parent.span_id, 1)) == CREATOR
        assert (span.links, f"{context_of(span).trace_id:032x}" in CREATOR) == ((), True)

    async def test_it_says_what_it_is_by_the_conventions(self, recorded: Recorded) -> None:
        await play(ordering(), recorded.traces())
        found = said(recorded.spans[0])
        assert len(found.pop("cloudevents.event_id")) == 36
        assert found.pop("server.address")
        assert found.pop("server.port")
        assert found == {
            "messaging.system": "nsq",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "traced",
            "messaging.destination.subscription.name": "billing",
            "messaging.message.id": found["messaging.message.id"],
            "cloudevents.event_source": "shop",
            "cloudevents.event_type": "traced.ordered.v1",
            "cloudevents.event_spec_version": "1.0",
            "nsqkit.attempts": 1,
            "nsqkit.outcome": "success",
        }

    async def test_a_redelivery_is_a_new_span_linked_to_the_same_creator(self, recorded: Recorded) -> None:
        def behave(ctx: Context) -> None:
            if ctx.attempts < 3:
                failing(ctx)

        await play(ordering(behave), recorded.traces())
        assert [said(span)["nsqkit.attempts"] for span in recorded.spans] == [1, 2, 3]
        assert [links(span) for span in recorded.spans] == [[CREATOR]] * 3
        assert len({context_of(span).trace_id for span in recorded.spans}) == 3

    @pytest.mark.parametrize("traceparent", [None, "00-1-2-01"], ids=["none", "one that is not valid"])
    async def test_without_a_creator_it_has_no_link(
        self, recorded: Recorded, traceparent: str | None
    ) -> None:
        await play(ordering(), recorded.traces(), traceparent=traceparent)
        (span,) = recorded.spans
        assert (span.links, span.parent) == ((), None)

    async def test_a_bare_body_has_a_span_too(self, recorded: Recorded) -> None:
        await play(ordering(), recorded.traces(), raw=b'{"n": 1}')
        (span,) = recorded.spans
        assert "cloudevents.event_id" not in said(span)

    async def test_the_handler_sees_it_as_the_current_span_and_no_other_message_does(
        self, recorded: Recorded
    ) -> None:
        seen: list[int] = []

        class Wait(Handler[Ordered], channel="billing", max_in_flight=2):
            async def handle(self, event: Ordered, ctx: Context) -> None:
                await asyncio.sleep(0)  # a turn of the loop has no event
                seen.append(trace.get_current_span().get_span_context().span_id)

        await play(Wait, recorded.traces(), count=2)
        assert sorted(seen) == sorted(context_of(span).span_id for span in recorded.spans)
        assert not trace.get_current_span().get_span_context().is_valid

    async def test_a_handler_in_a_thread_sees_it(self, recorded: Recorded) -> None:
        seen: list[int] = []

        class Plain(Handler[Ordered], channel="billing"):
            def handle(self, event: Ordered, ctx: Context) -> None:
                seen.append(trace.get_current_span().get_span_context().span_id)

        await play(Plain, recorded.traces())
        assert seen == [context_of(recorded.spans[0]).span_id]

    @pytest.mark.parametrize("traceparent", [CREATOR, UNSAMPLED], ids=["sampled", "not sampled"])
    async def test_log_lines_of_the_handler_carry_its_ids(self, recorded: Recorded, traceparent: str) -> None:
        found: list[tuple[Any, Any]] = []

        def note(_: object) -> None:
            fields = log_fields()
            found.append((fields.get("trace_id"), fields.get("span_id")))

        await play(ordering(note), recorded.traces(), traceparent=traceparent)
        contexts = [context_of(span) for span in recorded.spans]
        expected: list[tuple[Any, Any]]
        expected = [(f"{each.trace_id:032x}", f"{each.span_id:016x}") for each in contexts]
        assert found == (expected or [(None, None)])

    async def test_it_leaves_no_context_variable_behind(self, recorded: Recorded) -> None:
        """Otherwise each message would need a task of its own."""
        traces = recorded.traces()
        assert traces.is_on
        before = copy_context()
        await traces.around_handle(Ordered(), Context(traceparent=CREATOR), returning)
        assert copy_context() == before

    async def test_a_call_that_python_discards_disturbs_nobody(
        self, recorded: Recorded, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is closed in whatever context the garbage collector runs in."""
        traces = recorded.traces()
        assert traces.is_on
        call = traces.around_handle(Ordered(), Context(traceparent=CREATOR), waiting)
        copy_context().run(call.send, None)
        call.close()
        assert caplog.messages == []


async def waiting(_event: object, _ctx: Context) -> None:
    await asyncio.sleep(0)  # a turn of the loop has no event


async def returning(_event: object, _ctx: Context) -> None:
    assert trace.get_current_span().is_recording()


class TestOutcome:
    """What a span says of the end of its message."""

    async def test_a_requeue_is_an_event_with_reason_and_delay(self, recorded: Recorded) -> None:
        def behave(ctx: Context) -> Outcome | None:
            return Requeue(5) if ctx.attempts == 1 else None

        await play(ordering(behave), recorded.traces())
        span = recorded.spans[0]
        assert events(span) == [("nsqkit.requeue", {"nsqkit.reason": "requested", "nsqkit.delay_s": 5.0})]
        assert (said(span)["nsqkit.outcome"], span.status.status_code) == ("requeue", StatusCode.UNSET)

    async def test_a_failure_names_its_error(self, recorded: Recorded) -> None:
        await play(
            ordering(failing, retry=RetryPolicy(max_attempts=2, backoff=Exponential(base_s=2))),
            recorded.traces(),
        )
        first, last = recorded.spans
        exception = (
            "exception",
            {"exception.type": "ValueError", "exception.message": "ValueError: no such order"},
        )
        requeue = ("nsqkit.requeue", {"nsqkit.reason": "error", "nsqkit.delay_s": 2.0})
        assert events(first) == [exception, requeue]
        assert events(last) == [exception, ("nsqkit.dead_letter", {"nsqkit.reason": "exhausted"})]
        assert said(first)["error.type"] == said(last)["error.type"] == "ValueError"
        assert first.status.status_code is last.status.status_code is StatusCode.ERROR

    async def test_secrets_in_an_error_are_masked(self, recorded: Recorded) -> None:
        def behave(_: Context) -> None:
            raise ValueError("password=hunter2")

        await play(ordering(behave, retry=RetryPolicy(max_attempts=1)), recorded.traces())
        (span,) = recorded.spans
        assert "hunter2" not in span.to_json()

    async def test_a_requested_dead_letter_fails_without_an_exception(self, recorded: Recorded) -> None:
        await play(ordering(lambda _: DeadLetter("closed")), recorded.traces())
        (span,) = recorded.spans
        assert events(span) == [("nsqkit.dead_letter", {"nsqkit.reason": "requested"})]
        assert said(span)["error.type"] == "requested"
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "closed")

    async def test_a_message_that_is_no_event_has_a_span_that_says_why(self, recorded: Recorded) -> None:
        raw = (await body()).replace(b'"n":0', b'"n":"x"')
        await play(ordering(), recorded.traces(), raw=raw)
        (span,) = recorded.spans
        assert events(span)[-1] == ("nsqkit.dead_letter", {"nsqkit.reason": "undecodable"})
        assert (said(span)["error.type"], links(span)) == ("DecodeError", [CREATOR])

    async def test_a_message_that_is_given_back_unhandled_has_no_span(self, recorded: Recorded) -> None:
        traces = recorded.traces()
        assert traces.is_on
        for verdict in (LEASE_LOST, SHUTDOWN):
            traces.on_unhandled(Context(), verdict, None)
        assert recorded.spans == ()

    async def test_a_breaker_that_opens_and_closes_is_an_event(self, recorded: Recorded) -> None:
        failures = [ConnectionError("away")]
        warehouse = Breaker("traced.warehouse", failures=1, open_s=10)

        class Reserve(Handler[Ordered], channel="billing"):
            async def handle(self, event: Ordered, ctx: Context) -> None:
                async with warehouse:
                    if failures:
                        raise failures.pop()

        await play(Reserve, recorded.traces())
        changes = [
            (said(span)["nsqkit.attempts"], fields["nsqkit.state"])
            for span in recorded.spans
            for name, fields in events(span)
            if name == "nsqkit.breaker" and fields["nsqkit.dependency"] == "traced.warehouse"
        ]
        assert changes == [(1, "open"), (3, "half_open"), (3, "closed")]  # the second one was refused

    async def test_a_kill_switch_that_opens_and_closes_is_an_event(self, recorded: Recorded) -> None:
        def behave(ctx: Context) -> None:
            if ctx.attempts == 1:
                failing(ctx)

        switch = KillSwitch(failure_ratio=0.5, min_messages=2, window_s=60, open_s=5, trials=1)
        await play(ordering(behave, kill_switch=switch, max_in_flight=1), recorded.traces(), count=2)
        states = [
            fields["nsqkit.state"]
            for span in recorded.spans
            for name, fields in events(span)
            if name == "nsqkit.kill_switch"
        ]
        assert states == ["open", "closed"]

    async def test_a_message_that_is_kept_ends_its_span_and_has_another_one_later(
        self, recorded: Recorded
    ) -> None:
        """A trial that fails for a known outage has no outcome: it is tried again."""
        failures = [ConnectionError("away"), ConnectionError("still away")]
        ledger = Breaker("traced.ledger", failures=1, open_s=10)

        class Book(Handler[Ordered], channel="billing"):
            async def handle(self, event: Ordered, ctx: Context) -> None:
                async with ledger:
                    if failures:
                        raise failures.pop()

        await play(Book, recorded.traces())
        kept = [fields for span in recorded.spans for name, fields in events(span) if name == "nsqkit.kept"]
        assert kept == [{"nsqkit.reason": "breaker_open"}]
        assert said(recorded.spans[-1])["nsqkit.outcome"] == "success"


class TestFollowUps:
    """Events that a handler publishes."""

    async def test_they_are_sent_in_a_child_span_whose_context_they_carry(self, recorded: Recorded) -> None:
        seen: list[Any] = []

        class Read(Handler[Billed], channel="read"):
            async def handle(self, event: Billed, ctx: Context) -> None:
                seen.append(ctx.traceparent)

        traces = recorded.traces()
        async with Harness([ordering(lambda ctx: ctx.publish(Billed())), Read], middleware=[traces]) as h:
            await h.publish_raw("traced", await body())
            await h.settle()
        (send,) = recorded.named("send traced.billed")
        (process,) = recorded.named("process traced")
        (read,) = recorded.named("process traced.billed")
        assert (send.kind, send.parent) == (SpanKind.PRODUCER, process.context)
        assert seen == [str(context_of(send))]
        assert links(read) == seen
        found = said(send)
        assert found.pop("cloudevents.event_id") == said(read)["cloudevents.event_id"]
        flow = said(process)["cloudevents.event_id"]
        assert said(read)["messaging.message.conversation_id"] == flow, "the correlation id"
        assert found == {
            "messaging.system": "nsq",
            "messaging.message.conversation_id": flow,
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": "traced.billed",
            "server.address": said(process)["server.address"],
            "server.port": said(process)["server.port"],
            "cloudevents.event_source": found["cloudevents.event_source"],
            "cloudevents.event_type": "traced.billed.v1",
            "cloudevents.event_spec_version": "1.0",
        }

    async def test_without_the_context_variables_of_the_handler_they_belong_to_its_span(
        self, recorded: Recorded
    ) -> None:
        """A thread that the handler starts by itself has none of them."""
        await play(ordering(lambda ctx: EmptyContext().run(ctx.publish, Billed())), recorded.traces())
        (send,) = recorded.named("send traced.billed")
        assert send.parent == recorded.named("process traced")[0].context

    async def test_raw_bytes_have_a_span_too(self, recorded: Recorded) -> None:
        await play(ordering(lambda ctx: ctx.publish_raw("traced.raw", b"x")), recorded.traces())
        (send,) = recorded.named("send traced.raw")
        assert "cloudevents.event_id" not in said(send)

    async def test_those_of_a_handler_that_failed_were_not_sent(self, recorded: Recorded) -> None:
        def behave(ctx: Context) -> Outcome | None:
            ctx.publish(Billed())
            if ctx.attempts == 1:
                failing(ctx)
            return Requeue(1) if ctx.attempts == 2 else None

        await play(ordering(behave), recorded.traces())
        assert len(recorded.named("process traced")) == 3
        assert len(recorded.named("send traced.billed")) == 1

    async def test_a_publish_that_nsqd_does_not_confirm_is_an_error(self, recorded: Recorded) -> None:
        async with Harness(
            [ordering(lambda ctx: ctx.publish(Billed()))], middleware=[recorded.traces()]
        ) as h:
            h.fail_publish()
            await h.publish_raw("traced", await body())
            await h.settle(through_delays=True)
        first, second = recorded.named("send traced.billed")
        assert said(first)["error.type"] == "PublishError"
        assert first.status.status_code is StatusCode.ERROR
        assert second.status.status_code is StatusCode.UNSET
        assert "nsqkit.requeue" in dict(events(recorded.named("process traced")[0]))

    async def test_a_trace_context_that_is_given_is_kept(self, recorded: Recorded) -> None:
        seen: list[Any] = []

        class Read(Handler[Billed], channel="read"):
            async def handle(self, event: Billed, ctx: Context) -> None:
                seen.append(ctx.traceparent)

        layers = [From(CREATOR), recorded.traces()]
        async with Harness([ordering(lambda ctx: ctx.publish(Billed())), Read], middleware=layers) as h:
            await h.publish_raw("traced", await body())
            await h.settle()
        assert seen == [CREATOR]
        assert recorded.named("send traced.billed") == []


async def handled(_batch: Sequence[Delivery[Any]]) -> None:
    """Handle a batch."""


class Collect(BatchHandler[Ordered], channel="batches", max_messages=3, max_wait_s=1):
    async def handle(self, batch: Sequence[Delivery[Ordered]]) -> Mapping[str, Outcome] | None:
        return {each.key: Requeue(3) for each in batch if each.event.n == 1 and each.ctx.attempts == 1}


class TestBatch:
    """The span of a batch."""

    async def test_it_has_the_number_of_its_messages_and_a_link_for_each(self, recorded: Recorded) -> None:
        await play(Collect, recorded.traces(creator="parent"), count=3)
        span = recorded.spans[0]
        found = said(span)
        assert (span.name, span.kind, span.parent) == ("process traced", SpanKind.CONSUMER, None)
        assert found["messaging.batch.message_count"] == 3
        assert "messaging.message.id" not in found
        assert links(span) == [CREATOR] * 3
        assert len({(each.attributes or {})["messaging.message.id"] for each in span.links}) == 3

    async def test_its_events_name_their_message(self, recorded: Recorded) -> None:
        await play(Collect, recorded.traces(), count=3)
        ((name, fields),) = events(recorded.spans[0])
        ids = [(each.attributes or {})["messaging.message.id"] for each in recorded.spans[0].links]
        assert (name, fields["messaging.message.id"]) == ("nsqkit.requeue", ids[1])

    async def test_after_a_failure_each_message_has_a_span_of_its_own(self, recorded: Recorded) -> None:
        class Fussy(BatchHandler[Ordered], channel="batches", max_messages=3, max_wait_s=1):
            async def handle(self, batch: Sequence[Delivery[Ordered]]) -> None:
                if len(batch) > 1:
                    raise ValueError("too many")

        await play(Fussy, recorded.traces(), count=3)
        counts = [said(span)["messaging.batch.message_count"] for span in recorded.spans]
        assert sorted(counts) == [1, 1, 1, 3]
        (failed,) = [span for span in recorded.spans if said(span)["messaging.batch.message_count"] == 3]
        assert (said(failed)["error.type"], failed.status.status_code) == ("ValueError", StatusCode.ERROR)

    async def test_its_follow_up_events_belong_to_it(self, recorded: Recorded) -> None:
        class Follow(BatchHandler[Ordered], channel="batches", max_messages=2, max_wait_s=1):
            def handle(self, batch: Sequence[Delivery[Ordered]]) -> None:
                for each in batch:
                    each.ctx.publish(Billed(each.event.n))

        await play(Follow, recorded.traces(), count=2)
        (process,) = recorded.named("process traced")
        assert [span.parent for span in recorded.named("send traced.billed")] == [process.context] * 2

    @pytest.mark.parametrize("sampler", [DEFAULT_ON, Flipped(samples=False)], ids=["known", "unknown"])
    async def test_one_without_a_sampled_message_has_no_span(self, sampler: Sampler) -> None:
        recorded = Recorded(sampler)
        await play(Collect, recorded.traces(), traceparent=UNSAMPLED, count=3)
        assert recorded.spans == ()

    @pytest.mark.parametrize(
        ("nsqd", "expected"),
        [
            pytest.param(("a:4150", "a:4150"), {"server.address": "a", "server.port": 4150}, id="one nsqd"),
            pytest.param(("a:4150", "b:4150"), {}, id="several nsqd"),
        ],
    )
    async def test_it_names_the_nsqd_of_all_its_messages(
        self, recorded: Recorded, nsqd: tuple[str, str], expected: dict[str, Any]
    ) -> None:
        traces = recorded.traces()
        assert traces.is_on
        batch = [Delivery(each, Ordered(), Context(nsqd=each)) for each in nsqd]
        await traces.around_batch(batch, handled)
        for each in batch:
            each.ctx.recorders[0].settled(SUCCESS, None)
        found = said(recorded.spans[0])
        assert {name: found[name] for name in found if name.startswith("server.")} == expected


@contextmanager
def calls_of_opentelemetry() -> Iterator[list[str]]:
    """Note the functions of OpenTelemetry that are called."""
    found: list[str] = []

    def on_event(frame: Any, kind: str, _argument: object) -> None:
        if kind == "call" and "/opentelemetry/" in frame.f_code.co_filename:
            found.append(frame.f_code.co_qualname)

    sys.setprofile(on_event)
    try:
        yield found
    finally:
        sys.setprofile(None)


class TestSampling:
    """Which messages have spans."""

    @pytest.mark.parametrize(
        ("sampler", "traceparent", "expected"),
        [
            pytest.param(DEFAULT_ON, None, 1, id="a new trace"),
            pytest.param(DEFAULT_ON, CREATOR, 1, id="a sampled creator"),
            pytest.param(DEFAULT_ON, UNSAMPLED, 0, id="an unsampled creator"),
            pytest.param(DEFAULT_OFF, None, 0, id="no new trace"),
            pytest.param(DEFAULT_OFF, CREATOR, 1, id="a sampled creator though no trace begins here"),
            pytest.param(ParentBased(TraceIdRatioBased(0.0)), CREATOR, 1, id="a creator above the ratio"),
            pytest.param(ALWAYS_ON, UNSAMPLED, 1, id="always"),
            pytest.param(Flipped(samples=True), UNSAMPLED, 1, id="an unknown sampler that samples"),
            pytest.param(Flipped(samples=False), CREATOR, 0, id="an unknown sampler that does not"),
        ],
    )
    async def test_the_sampler_decides(
        self, sampler: Sampler, traceparent: str | None, expected: int
    ) -> None:
        recorded = Recorded(sampler)
        await play(ordering(), recorded.traces(), traceparent=traceparent)
        assert len(recorded.spans) == expected

    async def test_the_tracers_of_others_keep_their_sampler(self) -> None:
        recorded = Recorded(ParentBased(TraceIdRatioBased(0.0)))
        await play(ordering(), recorded.traces())
        recorded.provider.get_tracer("another").start_span("unsampled").end()
        assert [span.name for span in recorded.spans] == ["process traced"]

    @pytest.mark.parametrize(
        ("sampler", "traceparent", "expected"),
        [
            pytest.param(DEFAULT_ON, UNSAMPLED, UNSAMPLED, id="that of the creator"),
            pytest.param(DEFAULT_OFF, None, "-00", id="a new one"),
            pytest.param(Flipped(samples=False), CREATOR, UNSAMPLED, id="with the sampler's decision"),
        ],
    )
    async def test_an_unsampled_handler_tells_later_services_not_to_decide_again(
        self, sampler: Sampler, traceparent: str | None, expected: str
    ) -> None:
        seen: list[Any] = []

        class Read(Handler[Billed], channel="read"):
            async def handle(self, event: Billed, ctx: Context) -> None:
                seen.append(ctx.traceparent)

        recorded = Recorded(sampler)
        kinds = [ordering(lambda ctx: ctx.publish(Billed())), Read]
        async with Harness(kinds, middleware=[recorded.traces()]) as h:
            await h.publish_raw("traced", await body(traceparent))
            await h.settle()
        assert recorded.spans == ()
        ((found,),) = [seen]
        assert found.endswith(expected)
        assert parse_traceparent(found) is not None

    async def test_an_unsampled_message_costs_no_call_of_opentelemetry(self) -> None:
        traces = Recorded(ParentBased(TraceIdRatioBased(0.0))).traces()
        async with Harness([ordering(lambda ctx: ctx.publish(Billed()))], middleware=[traces]) as h:
            for traceparent in (None, UNSAMPLED):
                await h.publish_raw("traced", await body(traceparent))
            with calls_of_opentelemetry() as calls:
                await h.settle()
            h.handled(Ordered).times(2)
        assert calls == []

    @pytest.mark.parametrize(
        "provider",
        [
            pytest.param(None, id="none is configured"),
            pytest.param(trace.NoOpTracerProvider(), id="one that does nothing"),
            pytest.param(Recorded(ALWAYS_OFF).provider, id="one that never samples"),
        ],
    )
    def test_it_is_off_without_a_provider_that_records(self, provider: trace.TracerProvider | None) -> None:
        traces = Traces(provider)
        assert not traces.is_on
        assert Hooks.of([traces]) == Hooks()
        with pytest.raises(RuntimeError, match="no hook is called"):
            traces.on_publish(Publish(Billed(), "traced", 0.0, None))

    def test_a_disabled_sdk_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        assert not Recorded().traces().is_on

    def test_a_wrong_reference_to_the_creator_is_refused(self) -> None:
        with pytest.raises(ValueError, match="give 'link' or 'parent'"):
            Traces(creator="child")  # type: ignore[arg-type]


class TestPublisher:
    """Spans of a publisher."""

    async def test_each_way_to_publish_has_its_spans(self, broker: DevBroker, recorded: Recorded) -> None:
        traces = recorded.traces()
        async with Publisher(broker.tcp_address, settings=told(), middleware=[traces]) as publisher:
            await publisher.publish(Sent(1))
            await publisher.publish_many([Sent(2), Sent(3)])
            await publisher.publish_soon(Sent(4))
            await publisher.publish_raw("sent", b"raw")
        assert [span.name for span in recorded.spans] == ["send sent"] * 5
        host, port = broker.tcp_address.split(":")
        found = said(recorded.spans[0])
        assert (found["server.address"], found["server.port"]) == (host, int(port))
        *bodies, _ = await take(broker.tcp_address, "sent", 5)
        carried = [
            next(text for text in each.decode().split('"') if text.startswith("00-")) for each in bodies
        ]
        assert carried == [str(context_of(span)) for span in recorded.spans[:4]]

    async def test_they_are_children_of_the_current_span(self, broker: DevBroker, recorded: Recorded) -> None:
        tracer = recorded.provider.get_tracer("web")
        async with Publisher(
            broker.tcp_address, settings=told(), middleware=[recorded.traces()]
        ) as publisher:
            with tracer.start_as_current_span("POST /orders") as request:
                await publisher.publish(Sent(1))
        (send,) = recorded.named("send sent")
        assert send.parent == request.get_span_context()

    def test_a_blocking_publisher_sees_the_current_span_of_its_caller(
        self, threaded_broker: DevBroker, recorded: Recorded
    ) -> None:
        tracer = recorded.provider.get_tracer("web")
        with (
            BlockingPublisher(
                threaded_broker.tcp_address, settings=told(), middleware=[recorded.traces()]
            ) as publisher,
            tracer.start_as_current_span("POST /orders") as request,
        ):
            publisher.publish(Sent(1))
        (send,) = recorded.named("send sent")
        assert send.parent == request.get_span_context()

    async def test_the_state_of_the_trace_goes_on(self, broker: DevBroker, recorded: Recorded) -> None:
        state = trace.TraceState([("vendor", "1")])
        sampled = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        current = trace.SpanContext(0xAB, 0xCD, is_remote=True, trace_flags=sampled, trace_state=state)
        async with Publisher(
            broker.tcp_address, settings=told(), middleware=[recorded.traces()]
        ) as publisher:
            with trace.use_span(trace.NonRecordingSpan(current)):
                await publisher.publish(Sent(1))
        (found,) = await take(broker.tcp_address, "sent", 1)
        assert b'"tracestate":"vendor=1"' in found

    async def test_in_an_unsampled_request_none_is_sampled(self, broker: DevBroker) -> None:
        recorded = Recorded()
        current = trace.NonRecordingSpan(
            trace.SpanContext(0xAB, 0xCD, is_remote=True, trace_flags=trace.TraceFlags(0))
        )
        async with Publisher(
            broker.tcp_address, settings=told(), middleware=[recorded.traces()]
        ) as publisher:
            with trace.use_span(current):
                await publisher.publish(Sent(1))
        (found,) = await take(broker.tcp_address, "sent", 1)
        assert f"00-{0xAB:032x}-{0xCD:016x}-00" in found.decode()
        assert recorded.spans == ()

    async def test_one_that_nobody_confirms_is_an_error(self, recorded: Recorded) -> None:
        async with Publisher(NOBODY, settings=told(), middleware=[recorded.traces()]) as publisher:
            with pytest.raises(PublishError):
                await publisher.publish(Sent(1))
        (span,) = recorded.spans
        assert said(span)["error.type"] == "PublishError"
        assert span.status.status_code is StatusCode.ERROR
