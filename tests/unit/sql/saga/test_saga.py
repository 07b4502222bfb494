"""Saga: steps across services, each stored with its command; what fails is undone, nothing happens twice."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from nsqkit import Context, DeadLetter, Exponential, Handler, RetryPolicy, Settings, event, resource
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql import Database
from nsqkit.sql.saga import Call, CallContext, Refused, Saga, Send, Step, store
from nsqkit.sql.saga.events import SagaCall, SagaSignal
from nsqkit.sql.saga.store import Instance
from nsqkit.sql.saga.waking import signal_event
from nsqkit.sql.testing import relayed
from nsqkit.testing import Harness
from tests.postgres import SERVERS
from tests.unit.sql.apart import apart

# Few statements, and many rules: one PostgreSQL is enough.
pytestmark = pytest.mark.parametrize("url", ["sqlite", SERVERS[0]], indirect=True)

team = Database("team")
TWICE = RetryPolicy(
    max_attempts=2, backoff=Exponential(base_s=5.0, jitter="none"), on={PermissionError: DeadLetter()}
)


@event("stock.reserve", version=1, topic="saga-stock")
class ReserveStock(msgspec.Struct, frozen=True):
    order_id: str


@event("stock.reserved", version=1, topic="saga-stock-replies")
class StockReserved(msgspec.Struct, frozen=True):
    shelf: str


@event("stock.refused", version=1, topic="saga-stock-replies")
class StockRefused(msgspec.Struct, frozen=True):
    reason: str


@event("stock.release", version=1, topic="saga-stock")
class ReleaseStock(msgspec.Struct, frozen=True):
    order_id: str


@event("stock.released", version=1, topic="saga-stock-replies")
class StockReleased(msgspec.Struct, frozen=True):
    order_id: str


@event("order.confirmed", version=1, topic="saga-confirmed")
class OrderConfirmed(msgspec.Struct, frozen=True):
    order_id: str
    shelf: str
    payment: str


class Order(msgspec.Struct, frozen=True):
    order_id: str
    shelf: str = ""
    payment: str = ""


@dataclass
class Gateway:
    """Charges cards; the test says how it answers."""

    answers: list[Any] = field(default_factory=list)
    calls: list[CallContext] = field(default_factory=list)

    async def call(self, call: CallContext) -> Any:
        self.calls.append(call)
        answer = self.answers.pop(0) if self.answers else "paid"
        if isinstance(answer, Exception):
            raise answer
        return await answer() if callable(answer) else answer


@resource
def gateway() -> Iterator[Gateway]:
    yield Gateway()


class PlaceOrder(Saga[Order], version=2, on=team):
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    def reserve(self, order: Order) -> ReserveStock:
        return ReserveStock(order.order_id)

    def reserved(self, order: Order, event: StockReserved) -> Order:
        return msgspec.structs.replace(order, shelf=event.shelf)

    def no_stock(self, _order: Order, event: StockRefused) -> Refused:
        return Refused(event.reason)

    def release(self, order: Order) -> ReleaseStock:
        return ReleaseStock(order.order_id)

    def released(self, _order: Order, _event: StockReleased) -> None:
        return None

    async def charge(self, order: Order, call: CallContext) -> Order | Refused:
        answer = await self.gateway.call(call)
        return answer if isinstance(answer, Refused) else msgspec.structs.replace(order, payment=answer)

    async def refund(self, _order: Order, call: CallContext) -> None:
        await self.gateway.call(call)

    def confirm(self, order: Order) -> OrderConfirmed:
        return OrderConfirmed(order.order_id, order.shelf, order.payment)

    steps = (
        Step(
            "reserve",
            Send(reserve, replies=(reserved, no_stock), timeout_s=60.0, retry=TWICE),
            undo=Send(release, replies=(released,), timeout_s=60.0, retry=TWICE),
        ),
        Step("charge", Call(charge, timeout_s=20.0, retry=TWICE), undo=Call(refund, retry=TWICE)),
        Step("confirm", Send(confirm)),
    )


class Stock(Handler[ReserveStock | ReleaseStock], channel="stock"):
    """Another service; its answers are published with the command's correlationid, as by any handler."""

    silent = False
    answer: Any = StockReserved("a1")

    def __init__(self) -> None:
        self.received: list[tuple[str | None, str | None]] = []

    async def handle(self, event: ReserveStock | ReleaseStock, ctx: Context) -> None:
        self.received.append((ctx.event_id, ctx.correlation_id))
        if not self.silent:
            ctx.publish(self.answer if isinstance(event, ReserveStock) else StockReleased(event.order_id))


class Mail(Handler[OrderConfirmed], channel="mail"):
    async def handle(self, event: OrderConfirmed, ctx: Context) -> None:
        pass


class Bench:
    """A harness with the saga and the other services, and a view of the rows."""

    def __init__(self, h: Harness, outside: sa.Engine, gateway: Gateway) -> None:
        self.h = h
        self.gateway = gateway
        self._outside = outside

    @property
    def stock(self) -> Stock:
        return self.h.handler(Stock)

    async def place(self, key: str = "o1") -> None:
        await self.h.publish(PlaceOrder.start(key, Order(key)))
        await self.h.settle()

    async def settle(self, after_s: float = 0.0) -> None:
        """Let time pass, with a relay that wakes what is due."""
        self.h.clock.advance(after_s)
        await relayed(self.h, team)

    async def left_in(self, step: str, *, version: int = 2, is_claimed: bool = False) -> None:
        """Leave an instance behind in a call, as a process or an nsqd does that dies; due in 60 s."""
        position = next(index for index, each in enumerate(PlaceOrder.steps) if each.name == step)
        now_s = self.h.wall_clock.now_s()
        progress = Progress(position=position, attempts=1, due_s=now_s + 60.0, is_claimed=is_claimed)
        instance = Instance(
            saga="PlaceOrder",
            key="o1",
            version=version,
            correlation_id="PlaceOrder/o1",
            topic=PlaceOrder.spec.topic,
            epoch=3,
            owner="another",
            state='{"order_id": "o1", "shelf": "a1"}',
            progress=progress,
            notes=(),
            started_at=now_s,
            changed_at=now_s,
        )
        self._add(instance)

    @apart
    def _add(self, instance: Instance) -> None:
        with self._outside.begin() as connection:
            assert store.add(connection, instance)

    async def signal(self, signal: Any, key: str = "o1") -> None:
        message = signal_event(key, signal, PlaceOrder.spec.topic, "by hand")
        await self.h.publish_raw(message.topic, message.body)
        await self.settle()

    def change(self, **changes: Any) -> None:
        """Change the row as another worker does; called in a thread."""
        before = self.instance()
        with self._outside.begin() as connection:
            assert store.save(connection, before, replace(before, **changes))

    @apart
    def instance(self, key: str = "o1") -> Instance:
        with self._outside.connect() as connection:
            found = store.find(connection, "PlaceOrder", key=key)
        assert found is not None
        return found

    @property
    def status(self) -> Status:
        return self.instance().progress.status

    def ignored(self) -> list[str]:
        return [each.detail for each in self.h.discarded()]


@pytest.fixture
async def bench(settings: Settings, outside: sa.Engine) -> AsyncIterator[Bench]:
    fake = Gateway()
    async with Harness([PlaceOrder, Stock, Mail], settings=settings, resources={Gateway: fake}) as h:
        yield Bench(h, outside, fake)


async def test_all_steps_succeed(bench: Bench) -> None:
    await bench.place()
    bench.h.handled(OrderConfirmed("o1", "a1", "paid")).once()
    assert bench.status is Status.COMPLETED
    assert [note.text for note in bench.instance().notes] == [
        "version 2 begun",
        "reserve started, attempt 1",
        "reserve succeeded by stock.reserved.v1",
        "charge started, attempt 1",
        "charge is called, attempt 1",
        "charge succeeded",
        "confirm sent",
        "completed",
    ]
    await bench.settle(86_400.0)  # nothing is due any more
    assert len(bench.instance().notes) == 8


async def test_a_command_has_the_key_of_its_action_as_id_and_the_correlation_id(bench: Bench) -> None:
    await bench.place()
    assert bench.stock.received == [("PlaceOrder/o1/reserve", "PlaceOrder/o1")]
    assert bench.gateway.calls == [CallContext("PlaceOrder/o1/charge", 1, "PlaceOrder/o1")]


async def test_a_refused_step_undoes_those_before_it(bench: Bench) -> None:
    bench.gateway.answers = [Refused("no money")]
    await bench.place()
    bench.h.handled(ReleaseStock("o1")).once()
    assert (bench.status, bench.instance().progress.reason) == (Status.COMPENSATED, "no money")
    assert len(bench.gateway.calls) == 1  # a refused step needs no refund


async def test_nothing_is_undone_if_the_first_step_is_refused(bench: Bench) -> None:
    bench.stock.answer = StockRefused("sold out")
    await bench.place()
    bench.h.handled(ReleaseStock).never()
    assert bench.status is Status.COMPENSATED


async def test_the_same_key_starts_once(bench: Bench) -> None:
    await bench.place()
    await bench.place()
    bench.h.handled(ReserveStock).once()
    assert bench.ignored() == ["double start"]


@pytest.mark.parametrize(
    ("reply", "correlation_id", "why"),
    [
        pytest.param(StockReserved("b2"), "PlaceOrder/o1", "double reply", id="a reply for the second time"),
        pytest.param(StockReleased("o1"), "PlaceOrder/o1", "late reply", id="of what is not asked any more"),
        pytest.param(StockReserved("b2"), "another/flow", "unknown reply", id="of another flow"),
        pytest.param(StockReserved("b2"), "", "unknown reply: it has no correlationid", id="of no flow"),
    ],
)
async def test_a_reply_that_nobody_awaits_changes_nothing_and_is_counted(
    reply: Any, correlation_id: str, why: str, bench: Bench
) -> None:
    await bench.place()
    before = bench.instance()
    ctx = Context(event_id="x", correlation_id=correlation_id or None)
    ctx = ctx if correlation_id else Context()
    ctx.publish(reply)
    await bench.h.publish_raw("saga-stock-replies", ctx.outgoing[0].body)
    await bench.settle()
    assert bench.ignored() == [why]
    assert bench.instance() == before


def keep_locked(outside: sa.Engine) -> sa.Connection:
    """Keep what a turn of the instance needs, as another worker does in a transaction that takes long."""
    connection = outside.connect()
    if outside.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.isolation_level = None
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    connection.execute(sa.text("UPDATE nsqkit_saga SET changed_at = 1"))
    return connection


async def test_an_instance_that_another_worker_changes_for_long_requeues_the_message(
    settings: Settings, outside: sa.Engine
) -> None:
    impatient = Settings(app=settings.app, lock_timeout_s=0.1)
    async with Harness([PlaceOrder, Stock, Mail], settings=impatient, resources={Gateway: Gateway()}) as h:
        bench = Bench(h, outside, Gateway())
        bench.stock.silent = True
        await bench.place()
        before, other = bench.instance(), keep_locked(outside)
        message = signal_event("o1", "compensate", PlaceOrder.spec.topic, "by hand")
        await h.publish_raw(message.topic, message.body)
        await h.settle()
        assert h.requeued(SagaSignal, reason="requested").once().error is None
        other.rollback()
        other.close()
        assert bench.instance() == before
        await h.settle(through_delays=True)
        assert bench.status is Status.COMPENSATING


async def test_a_command_without_reply_is_sent_again_with_the_same_id(bench: Bench) -> None:
    bench.stock.silent = True
    await bench.place()
    await bench.settle(61.0)
    bench.stock.silent = False
    await bench.settle(6.0)
    assert bench.stock.received == [("PlaceOrder/o1/reserve", "PlaceOrder/o1")] * 2
    assert bench.status is Status.COMPLETED


async def test_a_step_whose_result_is_unknown_is_undone_too(bench: Bench) -> None:
    bench.stock.silent = True
    await bench.place()
    for after_s in (61.0, 6.0):
        await bench.settle(after_s)
    bench.stock.silent = False
    await bench.settle(61.0)
    bench.h.handled(ReleaseStock).once()
    assert bench.status is Status.COMPENSATED


async def test_a_call_that_fails_is_made_again_and_then_undone(bench: Bench) -> None:
    bench.gateway.answers = [ConnectionError("away"), ConnectionError("away")]
    await bench.place()
    await bench.settle(6.0)
    keys = [(call.idempotency_key, call.attempt) for call in bench.gateway.calls]
    assert keys == [
        ("PlaceOrder/o1/charge", 1),
        ("PlaceOrder/o1/charge", 2),
        ("PlaceOrder/o1/charge/undo", 1),
    ]
    assert bench.status is Status.COMPENSATED
    bench.h.handled(ReleaseStock).once()


async def test_a_call_that_takes_too_long_is_cancelled(bench: Bench) -> None:
    bench.gateway.answers = [asyncio.Event().wait]
    await bench.place()
    await bench.settle(30.0)
    assert [call.attempt for call in bench.gateway.calls] == [1, 2]
    assert bench.status is Status.COMPLETED


async def test_a_compensation_that_cannot_be_done_needs_attention_until_a_person_resumes_it(
    bench: Bench,
) -> None:
    bench.gateway.answers = [Refused("no money")]
    await bench.place("o0")
    bench.gateway.answers = [ConnectionError("away")] * 4
    await bench.place()
    for _ in range(2):
        await bench.settle(6.0)
    assert (bench.status, bench.instance().progress.due_s) == (Status.NEEDS_ATTENTION, None)
    assert "charge/undo failed" in bench.instance().progress.reason
    await bench.signal("resume")
    assert bench.status is Status.COMPENSATED


async def test_a_person_can_compensate_a_completed_instance(bench: Bench) -> None:
    await bench.place()
    await bench.signal("compensate")
    assert (bench.status, bench.instance().progress.reason) == (Status.COMPENSATED, "by hand")
    refund = bench.gateway.calls[-1]
    assert (refund.idempotency_key, refund.reason) == ("PlaceOrder/o1/charge/undo", "by hand")


@pytest.mark.parametrize(
    ("left", "attempts"),
    [
        pytest.param({"is_claimed": False}, [1], id="nsqd has lost the message that asks for the call"),
        pytest.param({"is_claimed": True}, [2], id="the worker has died during the call"),
    ],
)
async def test_a_call_that_nobody_makes_any_more_is_made_when_its_time_is_over(
    left: dict[str, Any], attempts: list[int], bench: Bench
) -> None:
    await bench.left_in("charge", **left)
    await bench.settle(59.0)
    assert bench.gateway.calls == []
    await bench.settle(2.0)
    await bench.settle(6.0)
    assert [call.attempt for call in bench.gateway.calls] == attempts
    assert bench.status is Status.COMPLETED


async def test_a_redelivered_call_waits_for_the_lease_of_the_worker_that_may_have_died(bench: Bench) -> None:
    """So nsqd alone lets another worker go on, without a relay."""
    await bench.left_in("charge", is_claimed=True)
    ctx = Context()
    ctx.publish(SagaCall("o1", "charge", is_undo=False, attempt=1), topic=PlaceOrder.spec.topic)
    await bench.h.publish_raw(PlaceOrder.spec.topic, ctx.outgoing[0].body)
    await bench.h.settle()
    bench.h.requeued(SagaCall).once()
    bench.h.clock.advance(61.0)
    await bench.h.settle()
    assert [note.text for note in bench.instance().notes][-1].startswith(
        "charge failed: no answer within 20 s"
    )


async def test_a_person_who_compensates_waits_for_a_call_that_may_be_running(bench: Bench) -> None:
    await bench.left_in("charge", is_claimed=True)
    message = signal_event("o1", "compensate", PlaceOrder.spec.topic, "by hand")
    await bench.h.publish_raw(message.topic, message.body)
    await bench.h.settle()
    assert bench.gateway.calls == []
    bench.h.clock.advance(61.0)
    await bench.h.settle()
    assert [call.idempotency_key for call in bench.gateway.calls] == ["PlaceOrder/o1/charge/undo"]
    assert bench.status is Status.COMPENSATED


async def test_the_result_of_a_call_does_not_count_if_another_worker_has_gone_on(bench: Bench) -> None:
    async def outlives_its_lease() -> str:
        await asyncio.to_thread(bench.change, owner="another")
        return "paid"

    bench.gateway.answers = [outlives_its_lease]
    await bench.place()
    assert bench.ignored() == ["late result of a call"]
    assert (bench.status, bench.instance().owner) == (Status.RUNNING, "another")


async def test_an_error_that_is_final_is_not_tried_again(bench: Bench) -> None:
    bench.gateway.answers = [PermissionError("closed")]
    await bench.place()
    assert [str(call.idempotency_key) for call in bench.gateway.calls] == [
        "PlaceOrder/o1/charge",
        "PlaceOrder/o1/charge/undo",
    ]
    assert bench.status is Status.COMPENSATED


async def test_the_call_of_an_instance_that_is_undone_meanwhile_is_not_made(bench: Bench) -> None:
    bench.stock.silent = True
    await bench.left_in("charge", is_claimed=False)
    await bench.signal("compensate")
    before = len(bench.gateway.calls)
    ctx = Context()
    ctx.publish(SagaCall("o1", "charge", is_undo=False, attempt=1), topic=PlaceOrder.spec.topic)
    await bench.h.publish_raw(PlaceOrder.spec.topic, ctx.outgoing[0].body)
    await bench.h.settle()
    assert len(bench.gateway.calls) == before
    assert bench.ignored() == ["late call"]


async def test_an_instance_of_an_unknown_older_version_needs_attention(bench: Bench) -> None:
    await bench.left_in("charge", version=1)
    await bench.settle(61.0)
    assert bench.status is Status.NEEDS_ATTENTION
    assert bench.instance().progress.reason == (
        "no worker has version 1; add older=[…] to the class of the saga"
    )


async def test_an_instance_of_a_newer_version_is_left_to_newer_workers(bench: Bench) -> None:
    await bench.left_in("charge", version=3)
    before = bench.instance()
    await bench.settle(61.0)
    bench.h.requeued(SagaSignal).once()
    assert bench.instance().progress == before.progress


async def test_a_state_of_another_class_fails_the_call(bench: Bench) -> None:
    bench.gateway.answers = [StockReserved("no text"), "paid"]
    await bench.place()
    await bench.settle(6.0)
    assert bench.status is Status.COMPLETED
    assert any("charge failed" in note.text for note in bench.instance().notes)
