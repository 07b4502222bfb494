"""The page of 200 handlers in a tab that stays open: it does not grow, and draws only what changed."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.admin import Access, AdminServer
from nsqkit.monitor.pages import routes
from nsqkit.telemetry.metrics import Metrics
from tests.chromium import Tab
from tests.unit.admin.port import Port
from tests.unit.monitor.bench import Shop
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import until

HANDLERS = 200
# The page reads its events by fetch: these come from the test, which sets no pace of a second.
EVENTS_OF_THE_TEST = """
const real = window.fetch;
const events = new ReadableStream({ start: (controller) => (window.controller = controller) });
window.fetch = async (path, ...rest) =>
  path === "/monitor/events" ? new Response(events) : real(path, ...rest);
window.show = async (state) => {
  controller.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(state)}\\n\\n`));
  const shown = new Date(1000 * state.at).toISOString().slice(11, 19);
  const live = document.querySelector("#live");
  while (!live.textContent.includes(shown)) await new Promise(requestAnimationFrame);
};
window.showMany = async (first, count) => {
  for (let turn = first; turn < first + count; turn += 1) {
    const later = structuredClone(window.state);
    later.at += turn;
    later.second += turn;
    for (const [index, row] of later.handlers.entries()) {
      row.now = (turn + index) % 7 / 10;
      row.level = row.now > 0.4 ? "bad" : "ok";
      row.series = row.series.map((_, step) => (turn + step) % 9 / 10);
    }
    later.verdict.line = `Turn ${turn}`;
    await show(later);
  }
};
"""


@pytest.fixture
async def page(tab: Tab) -> AsyncIterator[Tab]:
    """The page with a state of 200 handlers, as ``window.state``."""
    shop, worker = Shop(), Port().worker
    shop.run(60, failed=1)
    access = Access(Settings(), RecordingLog())
    pages = routes(shop.monitor, worker, access)
    server = AdminServer(Metrics(), worker, "127.0.0.1", 0, handlers=worker, access=access, more_pages=pages)
    port = await server.start()
    tab.prepare(EVENTS_OF_THE_TEST)
    await tab.open(f"http://127.0.0.1:{port}/")
    await until(lambda: tab.evaluate("Boolean(window.controller) && document.readyState === 'complete'"))
    await tab.evaluate(f"window.state = {json.dumps(_of_many(await shop.state()))}; 0")
    yield tab
    shop.monitor.stop()
    await server.stop()


def _of_many(state: dict[str, Any]) -> dict[str, Any]:
    charge, notify = state["handlers"]
    many = [{**notify, "name": f"Notify{number}"} for number in range(HANDLERS - 1)]
    return state | {"handlers": [charge, *many]}


async def _weight(tab: Tab) -> dict[str, float]:
    """Return how many nodes and listeners the browser keeps for the page."""
    await tab.send("HeapProfiler.collectGarbage")
    found = (await tab.send("Performance.getMetrics"))["metrics"]
    return {each["name"]: each["value"] for each in found if each["name"] in ("Nodes", "JSEventListeners")}


async def test_a_tab_that_stays_open_does_not_grow(page: Tab) -> None:
    await page.send("Performance.enable")
    await page.evaluate("showMany(0, 30)")
    assert await page.evaluate("document.querySelectorAll('.row').length") == HANDLERS
    before = await _weight(page)
    await page.evaluate("showMany(30, 60)")
    assert await _weight(page) == before
    assert page.problems == []


async def test_only_what_changed_is_drawn(page: Tab) -> None:
    await page.evaluate("show(state)")
    await page.evaluate(
        "window.changes = []; new MutationObserver((found) => changes.push(...found)).observe(document,"
        " { subtree: true, childList: true, attributes: true, characterData: true })"
    )
    await page.evaluate("show({ ...state, at: state.at + 1, second: state.second + 1 })")
    changed = await page.evaluate(
        "[...new Set(changes.map((each) => each.target.id || each.target.outerHTML))]"
    )
    assert changed == ["live"]
