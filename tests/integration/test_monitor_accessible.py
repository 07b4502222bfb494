"""The monitor page for people who use a keyboard or a screen reader, in a real Chromium."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nsqkit import Settings
from nsqkit.admin import Access, AdminServer, IntakeState
from nsqkit.monitor.pages import routes
from nsqkit.telemetry.metrics import Metrics
from tests.chromium import Tab
from tests.unit.admin.port import Port
from tests.unit.monitor.bench import NOTIFY, Shop
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import until


@pytest.fixture
async def page(tab: Tab) -> AsyncIterator[Tab]:
    """The page of a shop where one handler fails and one is paused."""
    shop, worker = Shop(), Port().worker
    shop.run(300)
    shop.states[NOTIFY] = replace(shop.states[NOTIFY], state=IntakeState.PAUSED)
    shop.notify.paused(True)
    shop.run(60, failed=4)
    access = Access(Settings(), RecordingLog())
    pages = routes(shop.monitor, worker, access)
    server = AdminServer(Metrics(), worker, "127.0.0.1", 0, handlers=worker, access=access, more_pages=pages)
    await tab.open(f"http://127.0.0.1:{await server.start()}/")
    await until(lambda: tab.text(".v-line"), lambda line: line.startswith("Failing."))
    yield tab
    shop.monitor.stop()
    await server.stop()


async def _focused(tab: Tab) -> str:
    return str(await tab.evaluate("document.activeElement.innerText"))


async def test_a_keyboard_reaches_and_opens_everything(page: Tab) -> None:
    await page.press("Tab")
    assert await _focused(page) == "Skip to the handlers"
    await page.press("Enter")
    await page.press("Tab")
    assert "Charge" in await until(lambda: _focused(page), lambda text: "Charge" in text)
    await page.press("Enter")
    await until(lambda: page.text(".error summary"))
    await until(lambda: page.evaluate("document.querySelectorAll('.acts .btn').length"))
    seen = []
    for _ in range(4):
        await page.press("Tab")
        seen.append(await _focused(page))
    assert seen[:3] == ["Pause for 15 min", "Pause", "Resume"]
    assert "ConnectionRefusedError" in seen[3]
    await page.press("Enter")
    await until(lambda: page.text(".example"), lambda text: "no gateway" in text)
    await page.press("Escape")
    assert "Charge" in await _focused(page), "closed, and the focus is where it was"
    assert await page.evaluate("document.querySelector('.detail') === null")


async def test_a_new_verdict_is_announced_once(page: Tab) -> None:
    assert await page.evaluate("document.querySelectorAll('[role=status]').length") >= 1
    assert (await page.evaluate("document.querySelector('#announce').textContent")).startswith(
        "Failing. Charge"
    )
    assert await page.evaluate("document.querySelector('.v-line').closest('[role=status]') === null")


async def test_axe_finds_nothing(page: Tab, source: str) -> None:
    assert await page.violations(source) == []
    await page.evaluate("document.querySelector('.rowbtn').click()")
    await until(lambda: page.text(".error summary"))
    await page.evaluate("document.querySelector('.error').open = true")
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
        await page.resize(width, scheme=scheme)
        assert await page.violations(source) == [], (width, scheme)
    await page.evaluate("document.body.classList.add('stale')")
    assert await page.violations(source) == [], "without news"
    saved = await page.evaluate("fetch('/monitor/incident').then((answer) => answer.text())")
    await page.send("Page.setDocumentContent", frameId=await page.frame(), html=saved)
    assert await page.violations(source) == []
