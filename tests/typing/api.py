"""Code as a team writes it: mypy --strict and pyright accept every line. It is checked, never run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypedDict, TypeVar, assert_type

import attrs
import msgspec
import pydantic
from google.protobuf.wrappers_pb2 import StringValue
from pydantic.dataclasses import dataclass as pydantic_dataclass
from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession

import nsqkit
from nsqkit import (
    AnyEvent,
    BatchHandler,
    BlockingPublisher,
    Breaker,
    BreakerOpenError,
    Codec,
    Context,
    DeadLetter,
    DecodeError,
    Delivery,
    Discard,
    Duplicate,
    Envelope,
    Exponential,
    Extension,
    Finish,
    GzipCodec,
    Handler,
    HandlerTimeoutError,
    KillSwitch,
    LoadError,
    Middleware,
    MsgpackCodec,
    Next,
    NextBatch,
    NsqkitError,
    Outcome,
    Pause,
    ProtobufCodec,
    Publish,
    Publisher,
    PublishError,
    RateLimit,
    RefusedError,
    Requeue,
    RetryPolicy,
    Settings,
    Traces,
    Typed,
    Verdict,
    Worker,
    event,
    resource,
    retrying,
    upcast,
)
from nsqkit.sql import Database, outbox
from nsqkit.testing import Harness, Settled

# Events of each kind keep their own types.


@event("order.created", version=2, topic="orders")
class OrderCreated(msgspec.Struct, frozen=True):
    order_id: str
    total_cents: int = 0


@event("order.cancelled", version=1, topic="orders")
@dataclass(frozen=True)
class OrderCancelled:
    order_id: str


@event("order.paid", version=1)
class OrderPaid(pydantic.BaseModel):
    order_id: str


@upcast("order.created", from_version=1)
def in_cents(data: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": data["id"], "total_cents": round(data["total"] * 100)}


assert_type(OrderCreated(order_id="o-1").total_cents, int)
assert_type(OrderCancelled("o-1").order_id, str)
assert_type(OrderPaid(order_id="o-1").order_id, str)


# Resources are found by what they yield, and can still be called.


class Warehouse:
    def reserve(self, order_id: str) -> bool:
        return bool(order_id)


class Mailer:
    async def send(self, order_id: str) -> None: ...


@resource
async def warehouse(settings: Settings) -> AsyncIterator[Warehouse]:
    settings.app_text("warehouse_url", "")
    settings.app_number("warehouse_timeout_s", 1.0, minimum=0.1)
    yield Warehouse()


@resource
def mailer(warehouse: Warehouse) -> Iterator[Mailer]:
    yield Mailer()


# Handlers: async and plain, with and without outcomes, of one event and of several.


class UnknownSkuError(Exception): ...


class Notify(Handler[OrderCreated], channel="notify"):
    async def handle(self, order: OrderCreated, ctx: Context) -> None:
        assert_type(order.total_cents, int)


class Reserve(
    Handler[OrderCreated | OrderCancelled],
    topic="orders",
    channel="inventory",
    max_in_flight=100,
    timeout_s=20,
    retry=RetryPolicy(
        max_attempts=8,
        backoff=Exponential(base_s=1, factor=2, max_s=900, jitter="full"),
        on={
            UnknownSkuError: DeadLetter("unknown sku"),
            ConnectionError: Pause(for_s=60),
            TimeoutError: Requeue(),
            HandlerTimeoutError: Requeue(5),
            LookupError: Discard("gone"),
            FileExistsError: Finish(),
        },
    ),
    max_age_s=3600.0,
    on_expired="discard",
    on_unknown="requeue",
    dead_letters=True,
    errors=(UnknownSkuError, ConnectionError),
    kill_switch=KillSwitch(
        failure_ratio=0.5,
        min_messages=20,
        window_s=60,
        open_s=30,
        max_open_s=900.0,
        trials=3,
        include=(Exception,),
        exclude=(UnknownSkuError,),
    ),
    rate_limit=RateLimit(per_s=100, burst=20),
):
    def __init__(self, warehouse: Warehouse, mailer: Mailer) -> None:
        self._warehouse = warehouse
        self._mailer = mailer

    async def handle(self, event: OrderCreated | OrderCancelled, ctx: Context) -> Outcome | None:
        if isinstance(event, OrderCancelled):
            return Discard("cancelled")
        assert_type(event, OrderCreated)
        if not self._warehouse.reserve(event.order_id):
            return Requeue(30 if ctx.attempts < 3 else 300.0)
        ctx.publish(OrderPaid(order_id=event.order_id), topic="payments", defer_s=5)
        return None


class Charge(Handler[OrderCreated], channel="charge", threads=4):
    def handle(self, event: OrderCreated, ctx: Context) -> Requeue | None:
        while not ctx.cancelled and ctx.remaining_s() > 1:
            ctx.log.info("charged", order_id=event.order_id, event_id=ctx.event_id)
            return None
        return Requeue()


class Count(Handler[OrderCreated], channel="count", run_on_loop=True):
    def handle(self, event: OrderCreated, ctx: Context) -> None:
        assert_type(ctx.attempts, int)
        assert_type(ctx.message_id, str)
        assert_type(ctx.timestamp_ns, int)
        assert_type(ctx.topic, str)
        assert_type(ctx.channel, str)
        assert_type(ctx.event_id, str | None)
        assert_type(ctx.cancelled, bool)
        assert_type(ctx.remaining_s(), float)


# Batch handlers, async and plain, with and without outcomes, of one event and of several.


class Totals(BatchHandler[OrderCreated], channel="totals", max_messages=500, max_wait_s=2.0):
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> Mapping[str, Outcome] | None:
        for delivery in batch:
            assert_type(delivery.key, str)
            assert_type(delivery.event, OrderCreated)
            assert_type(delivery.ctx, Context)
        return {delivery.key: Requeue(5) for delivery in batch if not delivery.event.total_cents}


class Archive(
    BatchHandler[OrderCreated | OrderCancelled],
    topic="orders",
    channel="archive",
    max_in_flight=1000,
    max_messages=250,
    max_wait_s=0.5,
    timeout_s=20,
    threads=4,
    retry=RetryPolicy(3),
    kill_switch=KillSwitch(failure_ratio=0.5),
    rate_limit=RateLimit(per_s=100, burst=250),
    on_unknown="discard",
):
    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def handle(self, batch: Sequence[Delivery[OrderCreated | OrderCancelled]]) -> dict[str, Outcome]:
        return {delivery.key: Discard() for delivery in batch if isinstance(delivery.event, OrderCancelled)}


class Counted(BatchHandler[OrderCreated], channel="counted", run_on_loop=True):
    def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...


async def try_a_batch_handler() -> None:
    created = [Delivery("a", OrderCreated(order_id="o-1"), Context())]
    assert_type(await Totals().handle(created), Mapping[str, Outcome] | None)
    Archive(Warehouse()).handle(created)


E = TypeVar("E", bound=AnyEvent)


class Team(Handler[E], abstract=True, max_in_flight=7): ...


class Refund(Team[OrderCancelled], channel="refund"):
    async def handle(self, event: OrderCancelled, ctx: Context) -> None: ...


# Calls inside a handler are guarded by a breaker, and tried again.

bank = Breaker("bank", failures=5, open_s=30, trials=1, on=(ConnectionError,), ignore=(TimeoutError,))


@bank
def charge(order_id: str, *, cents: int = 0) -> bool:
    return bool(order_id) and cents > 0


@bank
async def refund(order_id: str) -> int:
    return len(order_id)


class Pay(Handler[OrderCreated], channel="pay"):
    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        async for attempt in retrying(ctx, on=ConnectionError, attempts=3, wait_s=0.1, max_wait_s=5):
            with attempt:
                assert_type(await refund(event.order_id), int)
                assert_type(attempt.num, int)
        async with bank as entered:
            assert_type(entered, Breaker)


class Bill(Handler[OrderCreated], channel="bill"):
    def handle(self, event: OrderCreated, ctx: Context) -> Outcome | None:
        for attempt in retrying(ctx, on=(ConnectionError, TimeoutError)):
            with attempt, bank:
                assert_type(charge(event.order_id, cents=event.total_cents), bool)
        return None


# A team tests a handler as the class that it is.


async def try_a_handler() -> None:
    outcome = await Reserve(Warehouse(), Mailer()).handle(OrderCreated(order_id="o-1"), Context(attempts=3))
    assert_type(outcome, Outcome | None)
    match outcome:
        case Requeue(delay_s=delay_s):
            assert_type(delay_s, float | None)
        case Pause(for_s=for_s):
            assert_type(for_s, float)
        case DeadLetter(detail=detail) | Discard(detail=detail):
            assert_type(detail, str)
        case Finish() | None:
            pass


# Middleware is a function or a class.


async def audited(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
    ctx.log.debug("called", channel=ctx.channel)
    return await call_next(event, ctx)


class Limited:
    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def __call__(self, event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        return Pause(1) if self._limit == 0 else await call_next(event, ctx)


around: Sequence[Middleware] = [audited, Limited(3)]


# A program runs handlers, and publishes.


def run() -> int:
    nsqkit.configure_logs(Settings(log_format="json"))
    assert_type(nsqkit.configure_traces(Settings(service="shop")), bool)
    assert_type(nsqkit.log_fields(), dict[str, Any])
    worker = Worker(
        handlers=[Notify, Reserve, Charge, Count, Refund, Totals, Archive],
        settings=Settings(nsqd=("127.0.0.1:4150",), threads=4, grace_s=5),
        middleware=around,
    )
    return worker.run()


async def publish() -> None:
    async with Publisher("127.0.0.1:4150", source="shop") as publisher:
        assert_type(publisher, Publisher)
        await publisher.publish(OrderCreated(order_id="o-1"))
        await publisher.publish(OrderPaid(order_id="o-1"), topic="payments", defer_s=1.5)
        await publisher.publish_many(OrderCreated(order_id=str(number)) for number in range(3))


def publish_without_a_loop() -> None:
    with BlockingPublisher(["127.0.0.1:4150", "127.0.0.1:4152"], settings=Settings.load()) as publisher:
        publisher.publish(OrderCreated(order_id="o-1"))


# Handlers are tested with a harness.


async def test_reserve(harness: type[Harness]) -> None:
    async with harness([Notify, Reserve], resources={object: object()}, settings=Settings(threads=1)) as h:
        assert_type(h, Harness)
        await h.publish(OrderCreated(order_id="o-1"), defer_s=1)
        await h.publish_raw("orders", b"{}")
        h.clock.advance(300)
        await h.settle(through_delays=True)
        delivery = h.requeued(OrderCreated, by=Reserve, delay_s=60, reason="error").once()
        assert_type(delivery, Settled)
        assert_type(h.handled(OrderCreated(order_id="o-1")).times(2), tuple[Settled, ...])
        h.dead_lettered(reason="undecodable").never()
        assert_type(h.handler(Reserve), Reserve)
        assert_type(h.clock.elapsed_s, float)
        assert_type(h.history(), str)


# Extensions override what they need; resources of a message keep their types.


class Session:
    def add(self, row: object) -> None: ...


class Connection: ...


@resource(per="message")
async def session(connection: Connection) -> AsyncIterator[Session]:
    yield Session()


@resource(per="thread")
def local_connection() -> Iterator[Connection]:
    yield Connection()


class Inbox(Extension):
    uses = (session,)

    def __init__(self, connection: Connection) -> None: ...

    async def around_handle(self, event: Any, ctx: Context, call_next: Next) -> Outcome | Duplicate | None:
        envelope = ctx.envelope
        assert_type(envelope, Envelope | None)
        ctx.resource(session).add(envelope)
        return Duplicate() if envelope is None else await call_next(event, ctx)

    def on_publish(self, publish: Publish) -> None:
        publish.attributes["correlationid"] = "c-1"
        publish.when_done.append(print)

    async def around_batch(self, batch: Sequence[Delivery[Any]], call_next: NextBatch) -> Any:
        return await call_next(batch[:1])

    def on_settled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        print(ctx.message_id, verdict.label, verdict.reason, error)

    def on_unhandled(self, ctx: Context, verdict: Verdict, error: BaseException | None) -> None:
        self.on_settled(ctx, verdict, error)

    async def close(self) -> None: ...


class Audited(
    Handler[OrderCreated], abstract=True, middleware=[Inbox, Inbox(Connection())], uses=[session]
): ...


class Store(Audited, channel="store", uses=[local_connection]):
    def handle(self, event: OrderCreated, ctx: Context) -> None:
        assert_type(ctx.resource(session), Session)
        assert_type(ctx.resource(local_connection), Connection)
        ctx.publish_raw("audit", ctx.body, defer_s=1.5)


Worker(handlers=[Store], middleware=[Inbox, Traces, Traces(creator="parent")])
Traces(creator="child")  # type: ignore[arg-type]
Publisher("127.0.0.1:4150", middleware=[Inbox(Connection())])


def test_store() -> None:
    ctx = Context(resources={session: Session()}, attempts=3)
    Store().handle(OrderCreated(order_id="o-1"), ctx)
    assert_type(ctx.outgoing[0].body, bytes)


# Errors have their fields.


def explain(error: NsqkitError) -> str:
    if isinstance(error, DecodeError):
        return f"{error.topic} {error.event_type} {error.path} {error.reason}"
    if isinstance(error, LoadError):
        assert_type(error.problems, tuple[str, ...])
    if isinstance(error, BreakerOpenError):
        return f"{error.dependency} for {error.remaining_s:g} s"
    if isinstance(error, PublishError | RefusedError):
        assert_type(error.permanent, bool)
    return str(error)


assert_type(nsqkit.__version__, str)
assert_type(RetryPolicy().schedule_s(), tuple[float, ...])


# A database, and its sessions with their types.

inventory = Database("inventory")


class ReserveOnce(
    Handler[OrderCreated], channel="once", once=inventory, event_key=lambda event: str(event.order_id)
):
    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        session = ctx.resource(inventory.session)
        assert_type(session, AsyncSession)
        outbox.add(session, event)


class ReserveOncePlain(Handler[OrderCreated], channel="once-plain", once=inventory):
    def handle(self, event: OrderCreated, ctx: Context) -> None:
        assert_type(ctx.resource(inventory.plain_session), orm.Session)


# Every kind of event, in brackets and published. A decorated handle, and one that returns an awaitable.


@event("kind.attrs", version=1, topic="kinds")
@attrs.frozen
class AttrsKind:
    name: str


@event("kind.ruled", version=1, topic="kinds")
@pydantic_dataclass(frozen=True)
class RuledKind:
    name: str


@event("kind.keyed", version=1, topic="kinds")
class KeyedKind(TypedDict):
    name: str


@event("kind.generic", version=1, topic="kinds")
class GenericKind(msgspec.Struct, Generic[E]):
    item: E


@event("kind.renamed", type="com.example.Renamed", topic="kinds", rename="camel", strict=False)
@dataclass
class RenamedKind:
    full_name: str


@event("kind.packed", version=1, topic="kinds", codec=GzipCodec(MsgpackCodec()), envelope=True)
@dataclass
class PackedKind:
    name: str


class OwnCodec:
    content_type = "text/plain"

    def decode(self, data: bytes, model: type[Any], /) -> Any:
        return model(data.decode())

    def encode(self, event: Any, /) -> bytes:
        return str(event.name).encode()


own: Codec = OwnCodec()
generated = event("kind.generated", version=1, topic="kinds", codec=ProtobufCodec())(StringValue)


def which(body: Any) -> type[RenamedKind | PackedKind] | None:
    return RenamedKind if "fullName" in body else None


class OfAttrs(Handler[AttrsKind], channel="kinds", name="attrs"):
    async def handle(self, event: AttrsKind, ctx: Context) -> None:
        ctx.publish(event)


class OfRuled(Handler[RuledKind], channel="ruled", codec=own):
    def handle(self, event: RuledKind, ctx: Context) -> Awaitable[Outcome | None]:
        return asyncio.sleep(0)  # it returns an awaitable


class OfKeyed(Handler[KeyedKind], channel="keyed"):
    async def handle(self, event: KeyedKind, ctx: Context) -> None:
        ctx.publish(Typed(KeyedKind, event))


class OfGeneric(Handler[GenericKind[OrderCreated]], channel="generic"):
    async def handle(self, event: GenericKind[OrderCreated], ctx: Context) -> None:
        ctx.publish(event.item)


class OfSeveral(Handler[RenamedKind | PackedKind], channel="several", select=which, on_unknown="discard"):
    async def handle(self, event: RenamedKind | PackedKind, ctx: Context) -> None:
        ctx.publish(event)


class OfGenerated(Handler[StringValue], channel="generated"):
    async def handle(self, event: StringValue, ctx: Context) -> None:
        ctx.publish(event)
