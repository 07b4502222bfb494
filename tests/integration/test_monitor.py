"""The monitor page in a real Chromium, with the sample handlers: the gateway fails, and the page says so."""

import asyncio
import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path

from handlers import orders
from nsqkit import Publisher, Settings, Worker, resource
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store
from nsqkit.devbroker import DevBroker
from tests.chromium import Tab
from tests.ports import free_port
from tests.unit.dead_letters.letters import letter
from tests.waiting import until

PER_TURN = 20
TURN_S = 0.1
ORDER = orders.OrderCreated("1", "2", "3", "2026-11-30T14:00:00Z", (orders.Line("4", 1, 500),), 500)
HANDLERS = (orders.ReserveStock, orders.ChargePayment, orders.NotifyCustomer, orders.SalesTotals)


async def _publish(settings: Settings) -> None:
    """Publish orders until cancelled."""
    async with Publisher(settings=settings) as publisher:
        for turn in itertools.count():
            numbers = range(turn * PER_TURN, (turn + 1) * PER_TURN)
            await publisher.publish_many([_order(str(number)) for number in numbers])
            await asyncio.sleep(TURN_S)  # the rate of the load


def _order(number: str) -> orders.OrderCreated:
    return orders.OrderCreated(
        number, ORDER.customer_id, ORDER.store, ORDER.placed_at, ORDER.lines, ORDER.total_cents
    )


async def test_the_page_shows_that_the_gateway_begins_to_fail(tab: Tab, tmp_path: Path) -> None:
    gateway = orders.Gateway(0.0)

    @resource
    async def sample_gateway() -> AsyncIterator[orders.Gateway]:
        yield gateway

    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    path = tmp_path / "dead.sqlite"
    with Store(path, make=True) as store:
        store.add([letter(number, nsqd=broker.tcp_address) for number in (1, 2)])
    settings = Settings(
        nsqd=(broker.tcp_address,),
        nsqd_http=(broker.http_address,),
        admin_port=free_port(),
        dead_store=str(path),
    )
    worker = Worker(HANDLERS, settings=settings, resources=[sample_gateway, orders.warehouse])
    await worker.start()
    load = asyncio.create_task(_publish(settings))
    try:
        await tab.open(f"http://127.0.0.1:{settings.admin_port}/")
        await until(lambda: tab.text("#verdict .v-line"), lambda line: line.startswith("Healthy."))
        assert await tab.evaluate("document.querySelector('#sagas').hidden"), "no handler is of a saga"
        gateway.failure_ratio = 0.5
        line = await until(lambda: tab.text("#verdict .v-line"), lambda line: line.startswith("Failing."))
        assert line.startswith("Failing. ChargePayment requeues ")
        assert "GatewayError at handlers/orders.py:78" in line
        assert (await tab.text(".row.l-bad .name")).startswith("ChargePayment")
        await tab.evaluate("document.querySelector('.row.l-bad .rowbtn').click()")
        await until(lambda: tab.text(".error summary"), lambda text: "GatewayError" in text)
        await tab.evaluate("document.querySelector('.error').open = true")
        await until(lambda: tab.text(".example"), lambda text: "no answer for order" in text)
        assert re.search(r"P50 .+ ms, P95 .+ ms, P99 .+ ms", await tab.text(".durations"))
        await until(lambda: tab.text(".letters"), lambda text: "2 GatewayError" in text)
        await tab.evaluate("document.querySelector('[aria-label=\"Replay dead letter 1\"]').click()")
        await until(lambda: tab.text(".letters [role=status]"), lambda text: "1 is published again" in text)
        await until(lambda: tab.text(".letters"), lambda text: "replayed" in text)
        assert await tab.evaluate("document.querySelectorAll('.letters .btn').length") == 1
        buttons = "[...document.querySelectorAll('.acts .btn')]"
        await until(lambda: tab.evaluate(f"{buttons}.length"))
        await tab.evaluate(f"{buttons}[0].click()")
        await until(lambda: tab.text(".row .pill"), lambda text: text.startswith("paused, "))
        await tab.evaluate(f"{buttons}[2].click()")
        await until(lambda: tab.evaluate("document.querySelector('.row.open .pill').hidden"))
        await tab.send(
            "Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False
        )
        assert await tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert tab.problems == []
    finally:
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        await worker.stop()
        await broker.stop()
    with Store(path) as store:
        assert {each.id: each.replays for each in store.find(Filters())} == {1: 1, 2: 0}
