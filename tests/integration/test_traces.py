"""Traces through two services and back, over a requeue, a dead letter and its replay, sent by OTLP/HTTP."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from nsqkit import Context, Exponential, Handler, Publisher, RetryPolicy, Settings, Traces, Worker, event
from nsqkit.dead_letters.collect import collect
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.replay import replay
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from tests.integration.conftest import Server
from tests.otlp import ReceivedSpan, Receiver, receiving
from tests.unit.conftest import threaded_broker
from tests.waiting import PATIENCE_S, until

__all__ = ["threaded_broker"]

ORDERED, BILLED = "traces_test_ordered", "traces_test_billed"


@event("traces_test.ordered", version=1, topic=ORDERED)
@dataclass
class Ordered:
    n: int


@event("traces_test.billed", version=1, topic=BILLED)
@dataclass
class Billed:
    n: int


class GatewayError(Exception):
    """The payment gateway does not answer."""


fails = {"gateway": True}
seen: list[Context] = []


class Bill(
    Handler[Ordered],
    channel="billing",
    retry=RetryPolicy(max_attempts=2, backoff=Exponential(base_s=0.01, jitter="none")),
):
    """Of the service billing: order 1 fails once, order 2 until the gateway answers again."""

    async def handle(self, event: Ordered, ctx: Context) -> None:
        if (event.n == 1 and ctx.attempts == 1) or (event.n == 2 and fails["gateway"]):
            raise GatewayError
        ctx.publish(Billed(event.n))


class Confirm(Handler[Billed], channel="shop"):
    """Of the service shop, which has published the order."""

    async def handle(self, event: Billed, ctx: Context) -> None:
        seen.append(ctx)


providers: list[TracerProvider] = []


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver
        while providers:
            providers.pop().shutdown()  # or its thread outlives the test


def traces(receiver: Receiver, service: str) -> Traces:
    """Return the extension of a service that sends its spans to the receiver."""
    provider = TracerProvider(resource=Resource({"service.name": service}), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{receiver.endpoint}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    providers.append(provider)
    return Traces(provider)


@pytest.fixture(params=["threaded_broker", pytest.param("quick_nsqd", marks=pytest.mark.nsqd)])
def engine(request: pytest.FixtureRequest) -> DevBroker | Server:
    """The embedded broker, or a real nsqd."""
    found: DevBroker | Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def settings(engine: DevBroker | Server, tmp_path: Path) -> Settings:
    return Settings(
        nsqd=(engine.tcp_address,),
        nsqd_http=(engine.http_address,),
        dead_store=str(tmp_path / "dead.sqlite"),
        admin_port=0,
    )


async def order(settings: Settings, receiver: Receiver, *numbers: int, done: int) -> None:
    """Run both services until so many orders were confirmed, and their messages are settled.

    The shop is a web program: its request has a span of its own.
    """
    seen.clear()
    shop = traces(receiver, "shop")
    workers = [
        Worker([Bill], settings=settings, middleware=[traces(receiver, "billing")]),
        Worker([Confirm], settings=settings, middleware=[shop]),
    ]
    for worker in workers:
        await worker.start()
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(worker.wait_ready() for worker in workers))
        async with Publisher(settings=settings, source="shop", middleware=[shop]) as publisher:
            await publisher.publish_many([Ordered(n) for n in numbers])
        billing = workers[0].metrics
        ends = len(numbers) or 1
        await until(
            lambda: (
                len(seen) >= done
                and sum(row.success + row.dead_lettered for row in billing.summary()) >= ends
                and not any(worker.held for worker in workers)
            )
        )
    for worker in workers:
        await worker.stop()


def of_order(receiver: Receiver, sent: ReceivedSpan) -> list[ReceivedSpan]:
    """Return the spans of the billing service for one order, in the order of their end."""
    return [span for span in receiver.named(f"process {ORDERED}") if span.links == (sent.place,)]


def test_an_order_can_be_followed_through_both_services(settings: Settings, receiver: Receiver) -> None:
    fails["gateway"] = True
    asyncio.run(order(settings, receiver, 1, 2, done=1))
    first, second = receiver.named(f"send {ORDERED}", "shop")
    assert {span.kind for span in (first, second)} == {"PRODUCER"}

    failed, billed = of_order(receiver, first)
    assert (failed.service, failed.kind, failed.parent_id) == ("billing", "CONSUMER", "")
    assert failed.trace_id not in {first.trace_id, billed.trace_id}, "each delivery has a trace of its own"
    assert [failed.fields["nsqkit.attempts"], billed.fields["nsqkit.attempts"]] == [1, 2]
    assert failed.fields["error.type"] == "GatewayError"
    assert failed.events[-1] == ("nsqkit.requeue", {"nsqkit.reason": "error", "nsqkit.delay_s": 0.01})
    assert (failed.is_error, billed.is_error) == (True, False)

    (answer,) = receiver.named(f"send {BILLED}", "billing")
    (confirmed,) = receiver.named(f"process {BILLED}", "shop")
    assert (answer.trace_id, answer.parent_id) == (billed.trace_id, billed.span_id)
    assert confirmed.links == (answer.place,)
    assert {span.scope for span in receiver.spans} == {"nsqkit"}

    ((ctx,),) = [seen]
    assert ctx.envelope is not None
    assert ctx.envelope.extensions["traceparent"] == f"00-{answer.place}-03"
    order_id = first.fields["cloudevents.event_id"]
    assert ctx.envelope.extensions["causationid"] == order_id
    assert ctx.envelope.extensions["correlationid"] == order_id

    given_up = of_order(receiver, second)[-1]
    assert given_up.events[-1] == ("nsqkit.dead_letter", {"nsqkit.reason": "exhausted"})

    fails["gateway"] = False
    assert collect(settings, exit_when_idle=True).stored == 1
    with Store(Path(settings.dead_store)) as store:
        (letter,) = store.find(Filters())
        assert letter.letter.traceparent == f"00-{second.place}-03"
        assert replay(store.ids(Filters()), store, settings) == 1
    asyncio.run(order(settings, receiver, done=1))
    replayed = of_order(receiver, second)[-1]
    assert replayed.fields["nsqkit.outcome"] == "success"
    assert replayed.trace_id != given_up.trace_id
    (_, answer) = receiver.named(f"send {BILLED}", "billing")
    assert answer.parent_id == replayed.span_id
    assert receiver.named(f"process {BILLED}", "shop")[-1].links == (answer.place,)
