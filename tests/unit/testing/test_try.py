import asyncio
from dataclasses import dataclass
import pytest
from handlers.orders import *
from nsqkit import *
from nsqkit.testing import Harness
from tests.unit.handlers.test_orders import order

pytest_plugins = ["nsqkit.testing.plugin"]

@event("order.charged", version=1, topic="charges")
@dataclass
class Charged:
    order_id: str

@dataclass
class Remote:
    hang: bool = False
    fails: int = 0

class Charge(Handler[OrderCreated], channel="c", timeout_s=10, retry=RetryPolicy(max_attempts=6, backoff=Exponential(base_s=300, factor=2, max_s=900))):
    def __init__(self, remote: Remote): self.remote = remote
    async def handle(self, event, ctx):
        if self.remote.hang: await asyncio.sleep(3600)
        if self.remote.fails:
            self.remote.fails -= 1
            raise ConnectionError("boom")
        ctx.publish(Charged(event.order_id))

class See(Handler[Charged], channel="see"):
    def handle(self, event, ctx): pass

async def test_retries(harness):
    async with harness([Charge, See], resources={Remote: Remote(fails=4)}) as h:
        await h.publish(order())
        await h.settle(through_delays=True)
        print(h.history())
        h.handled(OrderCreated).once()
        assert h.clock.elapsed_s == 300+600+900+900
        h.handled(Charged).once()
        h.published(Charged("o-1"), by=Charge).once()

async def test_hang(harness):
    async with harness([Charge, See], resources={Remote: Remote(hang=True)}) as h:
        await h.publish(order())
        await h.settle()
        h.requeued(OrderCreated, delay_s=300, reason="timeout").once()
        h.clock.advance(299)
        await h.settle()
        h.requeued(OrderCreated).once()
        h.clock.advance(1)
        await h.settle()
        h.requeued(OrderCreated).times(2)
        await h.settle(through_delays=True)
        h.dead_lettered(reason="exhausted").once()
        h.handled(OrderCreated).times(7)
async def test_bare(harness):
    async with harness([Charge, See], resources={Remote: Remote()}) as h:
        await h.publish(order())
        h.requeued(OrderCreated, delay_s=300, reason="timeout")
async def test_other(harness):
    async with harness([Charge, See], resources={Remote: Remote()}) as h:
        await h.publish(order())
        await h.publish_raw("orders", b"{}")
        h.fail_publish(topic="charges")
        await h.settle()
        assert 1 == 2

class Quick(Handler[OrderCreated], channel="quick", timeout_s=1, retry=RetryPolicy(max_attempts=3, backoff=Exponential(base_s=0.2, factor=2, max_s=900))):
    def __init__(self, remote: Remote): self.remote = remote
    async def handle(self, event, ctx):
        if self.remote.hang: await asyncio.sleep(3600)
        if self.remote.fails:
            self.remote.fails -= 1
            raise ConnectionError("boom")
        ctx.publish(Charged(event.order_id))
async def test_quick(harness):
    async with harness([Quick, See], resources={Remote: Remote(hang=True)}) as h:
        await h.publish(order())
        await h.settle()
        h.requeued(OrderCreated).once()
        await h.settle(through_delays=True)
        h.dead_lettered(OrderCreated).once()
        h.lost().never()
async def test_many(harness):
    async with harness([Quick, See, NotifyCustomer], resources={Remote: Remote(fails=3)}) as h:
        for n in range(1000):
            await h.publish(order(f"o-{n}"))
        await h.settle(through_delays=True)
        h.published(Charged).times(1000)
        h.handled(by=NotifyCustomer).times(1000)
        h.handled(by=Quick).times(1000)
        h.requeued(by=Quick).times(3)
