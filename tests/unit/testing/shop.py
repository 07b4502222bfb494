"""A small shop, whose handlers do what a test tells their gateway."""

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass

from nsqkit import Context, DeadLetter, Exponential, Handler, RetryPolicy, event, resource

RETRY = RetryPolicy(
    max_attempts=4,
    backoff=Exponential(base_s=60, factor=2, max_s=900),
    on={KeyError: DeadLetter("unknown product")},
)


@event("harness.ordered", version=1, topic="placed")
@dataclass(frozen=True)
class Ordered:
    order_id: str


@event("harness.charged", version=1, topic="charges")
@dataclass(frozen=True)
class Charged:
    order_id: str


class Gateway:
    """Fails as told, and remembers what it was asked."""

    def __init__(self, *failures: BaseException | None) -> None:
        self.failures = list(failures)
        self.asked: list[str] = []
        self.is_open = True
        self.hangs = False

    async def charge(self, order_id: str) -> None:
        self.asked.append(order_id)
        if self.hangs:
            await asyncio.Event().wait()
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure


OPENED: list[Gateway] = []


@resource
async def gateway() -> AsyncIterator[Gateway]:
    found = Gateway()
    OPENED.append(found)
    yield found
    found.is_open = False


class Charge(Handler[Ordered], channel="charge", timeout_s=10, retry=RETRY):
    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def handle(self, event: Ordered, ctx: Context) -> None:
        await self.gateway.charge(event.order_id)
        ctx.publish(Charged(event.order_id))


class Notify(Handler[Charged], channel="notify"):
    def __init__(self) -> None:
        self.threads: list[str] = []

    def handle(self, event: Charged, ctx: Context) -> None:
        self.threads.append(threading.current_thread().name)
