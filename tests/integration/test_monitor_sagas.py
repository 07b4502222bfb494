"""Sagas on the monitor page in a real Chromium: who needs attention, and what has happened to an instance."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from nsqkit import Publisher, Settings, Worker
from nsqkit.devbroker import DevBroker
from nsqkit.handler.sagas import Moment
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql.saga import store
from nsqkit.sql.saga.store import Instance
from tests.chromium import Tab
from tests.e2e.saga_shop import Order, SagaShop, orders
from tests.ports import free_port
from tests.waiting import until

START_S = 1_795_960_000.0
EVIL = "<img src=x onerror=alert(1)>/ö 7"
NOTES = (
    "version 1 begun",
    "reserve started, attempt 1",
    "reserve succeeded by sagashop.reserved.v1",
    "charge started, attempt 1",
    "charge failed for good: card 4111111111111111",
    "compensating: charge failed: card 4111111111111111",
    "charge/undo started, attempt 1",
    "charge/undo was refused: <b>closed</b>",
    "needs attention: charge/undo was refused: <b>closed</b>",
)
STOPPED = Instance(
    saga="SagaShop",
    key=EVIL,
    version=1,
    correlation_id="SagaShop/evil",
    topic="saga.SagaShop",
    epoch=1,
    owner="here",
    state='{"order_id":"secret state"}',
    progress=Progress(Status.NEEDS_ATTENTION, 1, 1, before=Status.COMPENSATING, reason="<b>closed</b>"),
    notes=tuple(Moment(START_S + number, text) for number, text in enumerate(NOTES)),
    started_at=START_S,
    changed_at=START_S + 9,
)
KEYS = "[...document.querySelectorAll('#g-rows .name')].map((each) => each.textContent).join()"


@pytest.fixture
async def page(tab: Tab, tmp_path: Path) -> AsyncIterator[Tab]:
    """The page of a worker with one saga: an instance needs attention, and one awaits a reply."""
    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    url = f"sqlite:///{tmp_path}/orders.sqlite"
    settings = Settings(
        nsqd=(broker.tcp_address,),
        nsqd_http=(broker.http_address,),
        admin_port=free_port(),
        app={"orders_url": url},
    )
    orders.upgrade(settings)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        store.add(connection, STOPPED)
    engine.dispose()
    async with Worker([SagaShop], settings=settings), Publisher(settings=settings) as publisher:
        await publisher.publish(SagaShop.start("o1", Order("o1")))
        await tab.open(f"http://127.0.0.1:{settings.admin_port}/")
        await until(lambda: tab.evaluate(KEYS), lambda keys: keys == f"{EVIL},o1")
        yield tab
    await broker.stop()


async def test_one_click_opens_the_timeline_of_who_needs_attention(page: Tab, source: str) -> None:
    assert await page.text("#g-sign") == "▲ 1 saga needs attention"
    assert "1 needs attention" in await page.text("#sagas .card-head")
    assert "SagaShop\ndatabase orders" in await page.text("#g-counts")
    await page.evaluate("document.querySelector('#g-rows .rowbtn').focus()")
    await page.press("Enter")
    shown = await until(lambda: page.text("#g-rows .timeline"))
    for text in ("reserve started, attempt 1", "+4.000 s", "card [redacted]", "refused: <b>closed</b>"):
        assert text in shown
    assert "4111111111111111" not in shown
    detail = await page.text("#g-rows .detail")
    assert f"nsqkit saga resume orders SagaShop '{EVIL}'" in detail
    assert "secret state" not in detail
    for width, scheme in ((1440, "light"), (1024, "dark"), (390, "dark")):
        await page.resize(width, scheme=scheme)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        assert await page.violations(source) == [], (width, scheme)
    await page.press("Escape")
    assert await page.evaluate("document.querySelector('#g-rows .detail') === null")
    assert await page.evaluate("document.activeElement.matches('#g-rows .rowbtn')")
    saved = await page.evaluate("fetch('/monitor/incident').then((answer) => answer.text())")
    assert "needs attention: charge/undo was refused: &lt;b&gt;closed&lt;/b&gt;" in saved
    assert "4111111111111111" not in saved
    assert page.problems == []
