"""Mistakes that a team makes: mypy --strict and pyright must refuse each of them. It is checked, never run.

Every mistake is silenced on its own line, and mypy warns of what is silenced without need: a mistake that
is no longer refused fails the check.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from nsqkit import (
    AnyEvent,
    Breaker,
    BatchHandler,
    Context,
    DeadLetter,
    Delivery,
    Discard,
    Exponential,
    Extension,
    Handler,
    KillSwitch,
    Middleware,
    Next,
    Outcome,
    Pause,
    Publisher,
    RateLimit,
    Requeue,
    RetryPolicy,
    Settings,
    Worker,
    event,
    resource,
    retrying,
    upcast,
)


E = TypeVar("E", bound=AnyEvent)


@event("order.created", version=1, topic="orders")
class OrderCreated(msgspec.Struct):
    order_id: str


@event("order.cancelled", version=1, topic="orders")
@dataclass
class OrderCancelled:
    order_id: str


# Events and upcasters


@event("order.paid")  # type: ignore[call-overload]  # no version
@dataclass
class NoVersion: ...


@event("order.paid", version="1")  # type: ignore[call-overload]  # a text as version
@dataclass
class TextVersion: ...


@event("order.paid", 1)  # type: ignore[call-overload]  # the version without its name
@dataclass
class BareVersion: ...


@event("order.paid", version=1, topics=["orders"])  # type: ignore[call-overload]  # a keyword that does not exist
@dataclass
class Topics: ...


@event("order.paid", version=1)  # type: ignore[arg-type]  # not a class
def function() -> None: ...


@upcast("order.created", from_version=1)  # type: ignore[arg-type]  # it takes and returns the data, not the event
def lifted(order: OrderCreated) -> OrderCreated:
    return order


OrderCreated("o-1").total  # type: ignore[attr-defined]  # a field that the event does not have
OrderCancelled(order_id=7)  # type: ignore[arg-type]  # a number for a text


# Class keywords


class Misspelt(Handler[OrderCreated], chanel="notify"):  # type: ignore[call-arg]  # chanel for channel
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class Invented(Handler[OrderCreated], channel="notify", retries=3):  # type: ignore[call-arg]  # there is no retries
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class TextLimit(Handler[OrderCreated], channel="notify", max_in_flight="7"):  # type: ignore[arg-type]  # a text
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class TextTimeout(Handler[OrderCreated], channel="notify", timeout_s="30s"):  # type: ignore[arg-type]  # a text
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class NumberPolicy(Handler[OrderCreated], channel="notify", retry=8):  # type: ignore[arg-type]  # not a policy
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class ClassPolicy(Handler[OrderCreated], channel="notify", retry=RetryPolicy):  # type: ignore[arg-type]  # no ()
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class NumberSwitch(Handler[OrderCreated], channel="notify", kill_switch=0.5):  # type: ignore[arg-type]  # no policy
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class NumberRate(Handler[OrderCreated], channel="notify", rate_limit=5):  # type: ignore[arg-type]  # not a policy
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class WrongWay(Handler[OrderCreated], channel="notify", on_unknown="drop"):  # type: ignore[arg-type]  # no such way
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class WrongEnd(Handler[OrderCreated], channel="notify", on_expired="requeue"):  # type: ignore[arg-type]  # no such way
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class OneError(Handler[OrderCreated], channel="notify", errors=OSError):  # type: ignore[arg-type]  # not a tuple
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class TextFlag(Handler[OrderCreated], abstract="yes"): ...  # type: ignore[arg-type]  # a text


class MisspeltFlag(Handler[OrderCreated], abstrct=True): ...  # type: ignore[call-arg]  # abstract


# Class keywords of what derives from an abstract class, generic or not


class Team(Handler[E], abstract=True, timeout_s=5): ...


class Shared(Handler[OrderCreated], abstract=True, timeout_s=5): ...


class MisspeltTeam(Handler[E], abstract=True, timeout=5): ...  # type: ignore[call-arg]  # timeout_s


class MisspeltOfTeam(Team[OrderCreated], chanel="notify"):  # type: ignore[call-arg]  # chanel for channel
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class TextOfTeam(Team[OrderCreated], channel="notify", threads="4"):  # type: ignore[arg-type]  # a text
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class MisspeltOfShared(Shared, chanel="notify"):  # type: ignore[call-arg]  # chanel for channel
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class TextOfShared(Shared, channel="notify", threads="4"):  # type: ignore[arg-type]  # a text
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class BatchOfShared(Shared, channel="notify", max_wait_s=1.0):  # type: ignore[call-arg]  # not a batch
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


# Events in brackets


class NoEvent(Handler, channel="notify"):  # type: ignore[type-arg]  # no brackets
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class TwoEvents(Handler[OrderCreated, OrderCancelled], channel="notify"):  # type: ignore[type-arg]  # a comma for |
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class NumberEvent(Handler[int], channel="notify"):  # type: ignore[type-var]  # not an event
    async def handle(self, event: int, ctx: Context) -> None: ...


class TextBatch(BatchHandler[str], channel="notify"):  # type: ignore[type-var]  # not an event
    async def handle(self, batch: Sequence[Delivery[str]]) -> None: ...


Unbound = TypeVar("Unbound")


class UnboundTeam(Handler[Unbound], abstract=True): ...  # type: ignore[type-var]  # bound=AnyEvent


# The handle method


class WrongEvent(Handler[OrderCreated], channel="notify"):
    async def handle(self, event: OrderCancelled, ctx: Context) -> None: ...  # type: ignore[override]  # another event


class HalfOfUnion(Handler[OrderCreated | OrderCancelled], channel="notify"):
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...  # type: ignore[override]  # half of them


class NoContext(Handler[OrderCreated], channel="notify"):
    async def handle(self, event: OrderCreated) -> None: ...  # type: ignore[override]  # no ctx


class Swapped(Handler[OrderCreated], channel="notify"):
    async def handle(self, ctx: Context, event: OrderCreated) -> None: ...  # type: ignore[override]  # swapped


class ReturnsText(Handler[OrderCreated], channel="notify"):
    async def handle(self, event: OrderCreated, ctx: Context) -> str:  # type: ignore[override]  # not an outcome
        return "done"


class ReturnsTextPlain(Handler[OrderCreated], channel="notify"):
    def handle(self, event: OrderCreated, ctx: Context) -> bool:  # type: ignore[override]  # not an outcome
        return True


class ReturnsClass(Handler[OrderCreated], channel="notify"):
    async def handle(self, event: OrderCreated, ctx: Context) -> Outcome | None:
        return Discard  # type: ignore[return-value]  # no ()


class Yields(Handler[OrderCreated], channel="notify"):
    def handle(self, event: OrderCreated, ctx: Context) -> Iterator[Outcome]:  # type: ignore[override]  # a generator
        yield Discard()


class WrongField(Handler[OrderCreated], channel="notify"):
    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        event.id  # type: ignore[attr-defined]  # a field that the event does not have
        ctx.attempt  # type: ignore[attr-defined]  # attempts
        ctx.canceled = True  # type: ignore[attr-defined]  # cancelled
        ctx.publish(event, delay_s=5)  # type: ignore[call-arg]  # defer_s
        ctx.publish(5)  # type: ignore[arg-type]  # not an event
        ctx.publish("text")  # type: ignore[arg-type]  # not an event
        ctx.publish(event, "orders")  # type: ignore[call-arg]  # the topic without its name
        await ctx.publish(event)  # type: ignore[func-returns-value, misc]  # it is held until the handler succeeds


class UnionField(Handler[OrderCreated | OrderCancelled], channel="notify"):
    async def handle(self, event: OrderCreated | OrderCancelled, ctx: Context) -> None:
        event.total  # type: ignore[union-attr]  # neither has it


# Batch handlers


class MisspeltBatch(BatchHandler[OrderCreated], channel="totals", max_message=5):  # type: ignore[call-arg]  # max_messages
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...


class BatchTeam(BatchHandler[E], abstract=True, max_wait_s=5): ...


class MisspeltBatchOfTeam(BatchTeam[OrderCreated], max_mesages=5):  # type: ignore[call-arg]  # max_messages
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...


class TextBatchOfTeam(BatchTeam[OrderCreated], channel="totals", max_messages="5"):  # type: ignore[arg-type]  # a text
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...


class TextWait(BatchHandler[OrderCreated], channel="totals", max_wait_s="2s"):  # type: ignore[arg-type]  # a text
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> None: ...


class BatchOfSingles(Handler[OrderCreated], channel="totals", max_messages=5):  # type: ignore[call-arg]  # not a batch
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


class SingleOfBatch(BatchHandler[OrderCreated], channel="totals"):
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...  # type: ignore[override]  # a batch


class BareEvents(BatchHandler[OrderCreated], channel="totals"):
    async def handle(self, batch: Sequence[OrderCreated]) -> None: ...  # type: ignore[override]  # not deliveries


class OtherEvents(BatchHandler[OrderCreated], channel="totals"):
    async def handle(self, batch: Sequence[Delivery[OrderCancelled]]) -> None: ...  # type: ignore[override]  # another


class OneForAll(BatchHandler[OrderCreated], channel="totals"):
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> Outcome | None:  # type: ignore[override]  # by key
        return None


class InAList(BatchHandler[OrderCreated], channel="totals"):
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> list[Outcome]:  # type: ignore[override]  # by key
        return []


class ByEvent(BatchHandler[OrderCreated], channel="totals"):
    async def handle(self, batch: Sequence[Delivery[OrderCreated]]) -> Mapping[str, Outcome]:
        return {delivery.event: Discard() for delivery in batch}  # type: ignore[misc]  # by key


# Outcomes and policies

Requeue("5")  # type: ignore[arg-type]  # a text as delay
Requeue(delay_ms=5000)  # type: ignore[call-arg]  # seconds everywhere
Requeue(5).delay_s = 6  # type: ignore[misc]  # an outcome is a value
Pause()  # type: ignore[call-arg]  # for how long
Pause("60")  # type: ignore[arg-type]  # a text as length
DeadLetter(404)  # type: ignore[arg-type]  # a number as detail
Exponential("1")  # type: ignore[arg-type]  # a text as base
Exponential(jitter="half")  # type: ignore[arg-type]  # a jitter that does not exist
Exponential(base=1)  # type: ignore[call-arg]  # base_s
RetryPolicy("8")  # type: ignore[arg-type]  # a text as number
RetryPolicy(max_attempts=8.5)  # type: ignore[arg-type]  # half an attempt
RetryPolicy(backoff=5)  # type: ignore[arg-type]  # a number as backoff
RetryPolicy(on={OSError: "requeue"})  # type: ignore[dict-item]  # a text as outcome
RetryPolicy(on={OSError: Discard})  # type: ignore[dict-item]  # no ()
RetryPolicy(on={"OSError": Discard()})  # type: ignore[dict-item]  # an error by its name
RetryPolicy(on={int: Discard()})  # type: ignore[dict-item]  # not an error
RetryPolicy(on={KeyboardInterrupt: Discard()})  # type: ignore[dict-item]  # not a failure
RetryPolicy(on=[(OSError, Discard())])  # type: ignore[arg-type]  # a list of rules
RetryPolicy().max_attempts = 9  # type: ignore[misc]  # a policy is a value
KillSwitch(failure_rate=0.5)  # type: ignore[call-arg]  # failure_ratio
KillSwitch(exclude=OSError)  # type: ignore[arg-type]  # not a tuple
KillSwitch(include=(KeyboardInterrupt,))  # type: ignore[arg-type]  # not a failure
RateLimit()  # type: ignore[call-arg]  # how many
RateLimit(5, burst=0.5)  # type: ignore[arg-type]  # half a message

# Breakers and attempts

Breaker()  # type: ignore[call-arg]  # of what
Breaker("bank", failure=5)  # type: ignore[call-arg]  # failures
Breaker("bank", on=OSError)  # type: ignore[arg-type]  # not a tuple
Breaker("bank").state = "open"  # type: ignore[misc, assignment]  # it opens by itself


@Breaker("bank")
async def charge(order_id: str) -> int:
    return len(order_id)


async def call(ctx: Context) -> None:
    await charge(7)  # type: ignore[arg-type]  # a number for a text
    retrying(ctx)  # type: ignore[call-arg]  # after which errors
    retrying(ctx, on="OSError")  # type: ignore[arg-type]  # an error by its name
    retrying(ctx, on=OSError, timeout=5)  # type: ignore[call-arg]  # the handler's own


# Resources


class Warehouse: ...


@resource  # type: ignore[arg-type]  # it returns instead of yielding
def returned(settings: Settings) -> Warehouse:
    return Warehouse()


@resource  # type: ignore[arg-type]  # it is awaited instead of yielding
async def awaited(settings: Settings) -> Warehouse:
    return Warehouse()


@resource
async def mistyped(settings: Settings) -> AsyncIterator[Warehouse]:
    yield settings  # type: ignore[misc]  # not what it says it yields


class Needy(Handler[OrderCreated], channel="needy"):
    def __init__(self, warehouse: Warehouse) -> None: ...

    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


Needy()  # type: ignore[call-arg]  # without what it needs
Needy(Settings())  # type: ignore[arg-type]  # with something else


# Middleware, workers and publishers


async def too_short(event: Any, ctx: Context) -> Outcome | None:
    return None


async def forgetful(event: Any, ctx: Context, call_next: Next) -> str:
    return "done"


def plain(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
    return None


short: Middleware = too_short  # type: ignore[assignment]  # no call_next
told: Middleware = forgetful  # type: ignore[assignment]  # not an outcome
sync: Middleware = plain  # type: ignore[assignment]  # not awaited

Worker(handlers=[OrderCreated])  # type: ignore[list-item]  # an event for a handler
Worker(handlers=[Needy(Warehouse())])  # type: ignore[list-item]  # an instance for a class
Worker(handlers=[Needy], threads=4)  # type: ignore[call-arg]  # a setting goes into Settings
Settings(thread=4)  # type: ignore[call-arg]  # threads
Settings(threads="4")  # type: ignore[arg-type]  # a text as number


async def publish() -> None:
    publisher = Publisher("127.0.0.1:4150")
    publisher.publish(OrderCreated("o-1"))  # type: ignore[unused-coroutine]  # not awaited
    await publisher.publish(OrderCreated("o-1"), delay_s=5)  # type: ignore[call-arg]  # defer_s
    await publisher.publish(b"bytes")  # type: ignore[arg-type]  # publish_raw
    await publisher.publish_many(OrderCreated("o-1"))  # type: ignore[arg-type]  # one for several


# Extensions and resources of a message


class Session: ...


@resource(per="massage")  # type: ignore[call-overload, untyped-decorator]  # message
def misspelt_scope() -> Iterator[Session]:
    yield Session()


@resource(per="message")
def session() -> Iterator[Session]:
    yield Session()


class WrongHook(Extension):
    async def around_handle(self, event: Any, ctx: Context) -> Outcome | None:  # type: ignore[override]  # no call_next
        return None


class ByType(Handler[OrderCreated], channel="typed", uses=[Session]):  # type: ignore[list-item]  # the type, not the resource
    async def handle(self, event: OrderCreated, ctx: Context) -> None:
        ctx.resource(Session)  # type: ignore[arg-type]  # same


class OneForSeveral(Handler[OrderCreated], channel="one", middleware=WrongHook()):  # type: ignore[arg-type]  # a list
    async def handle(self, event: OrderCreated, ctx: Context) -> int:  # type: ignore[override]  # not an outcome
        found: int = ctx.resource(session)  # type: ignore[assignment]  # a Session
        return found


class OnceByName(Handler[OrderCreated], channel="once", once="inventory"):  # type: ignore[arg-type]
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...
