"""The monitor page of `nsqkit run --workers 2` in a real Chromium: two processes are shown as one service."""

import json
import os
import signal
from pathlib import Path

import pytest

from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.store import Store
from tests.chromium import Tab
from tests.e2e.conftest import ANY_PORTS, Start
from tests.ports import free_port
from tests.unit.dead_letters.letters import letter
from tests.waiting import until

TEAM = """
import os
from dataclasses import dataclass
from pathlib import Path
from nsqkit import Context, Exponential, Handler, RetryPolicy, event

with Path("FOLDER/imported").open("a") as file:
    file.write(f"{os.getpid()}\\n")

@event("e2e.billed", version=1, topic="monitored")
@dataclass
class Billed:
    n: int

class BankError(Exception): ...

class Bill(
    Handler[Billed],
    channel="bill",
    max_in_flight=4,
    retry=RetryPolicy(max_attempts=60000, backoff=Exponential(base_s=0.05, max_s=0.05)),
):
    async def handle(self, event: Billed, ctx: Context) -> None:
        raise BankError("no answer for card 4111111111111111")
"""


DEAD = "monitored.bill.dead"
MORE_BYTES = 200
"""Digits of larger figures, and a few steps of the series that are no longer empty."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "e2e_monitored.py").write_text(TEAM.replace("FOLDER", str(tmp_path)))
    (tmp_path / "feed.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(20)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


async def test_two_workers_are_one_service_that_names_the_worker(
    folder: Path, start: Start, tab: Tab
) -> None:
    port = free_port()
    feed = ("--feed", f"monitored={folder / 'feed.jsonl'}")
    store = folder / "dead.sqlite"
    with Store(store, make=True) as letters:
        letters.add([letter(1, topic="monitored", channel="bill", dead_topic=DEAD, nsqd="127.0.0.1:1")])
    options = ("--admin-port", str(port), "--set", f"dead_store={store}", *feed)
    program = start("run", "e2e_monitored", "--workers", "2", "--dev", *ANY_PORTS, *options)
    parent = program._process.pid
    await until(lambda: program.said("feed_confirmed"))
    await tab.open(f"http://127.0.0.1:{port}/")
    line = await until(lambda: tab.text("#verdict .v-line"), lambda line: line.startswith("Failing."))
    assert line.startswith("Failing. Bill requeues ")
    assert "BankError at " in line
    assert "2 workers" in await tab.text("#service-facts")

    await tab.evaluate("document.querySelector('.rowbtn').click()")
    await until(lambda: tab.text(".error summary"), lambda text: "BankError" in text)
    await tab.evaluate("document.querySelector('.error').open = true")
    example = await until(lambda: tab.text(".example"))
    assert "no answer for card [redacted]" in example
    assert "worker 1" in example or "worker 2" in example

    await _replays(tab, store)
    await _has_events_of_one_size(tab)

    imported = {int(line) for line in (folder / "imported").read_text().split()}
    assert len(imported) == 2
    assert parent not in imported, "the parent imports no handler"
    os.kill(max(imported), signal.SIGKILL)
    await until(lambda: tab.text(".changes"), lambda text: "ended with SIGKILL" in text)
    await until(lambda: tab.text(".changes"), lambda text: "has started again" in text)
    os.kill(parent, signal.SIGHUP)
    await until(lambda: tab.text(".changes"), lambda text: "worker 2 was replaced" in text)

    buttons = "[...document.querySelectorAll('.acts .btn')]"
    await until(lambda: tab.evaluate(f"{buttons}.length"))
    await tab.evaluate(f"{buttons}[1].click()")
    await until(lambda: tab.text(".acts"), lambda text: "in all 2 workers" in text)
    assert await until(lambda: tab.text(".row .pill")) == "paused"
    await until(lambda: tab.text(".changes"), lambda text: "Bill is paused" in text)

    await tab.evaluate("document.querySelector('#save').click()")
    await until(lambda: tab.text("#saved"), lambda text: text.startswith("Saved incident-"))
    saved = await tab.evaluate("fetch('/monitor/incident').then((answer) => answer.text())")
    assert "no answer for card [redacted]" in saved
    assert "4111111111111111" not in saved
    (folder / "incident.html").write_text(saved)
    assert tab.problems == []
    await tab.open(f"file://{folder / 'incident.html'}")
    shown = await until(lambda: tab.text(".verdict .v-line"))
    assert "Bill" in shown
    assert await tab.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") == "8px"
    assert tab.problems == []
    assert program.terminate() == 0


async def _screen(tab: Tab) -> str:
    """Return what the page receives each second."""
    found: str = await tab.evaluate("fetch('/monitor/state').then((answer) => answer.text())")
    return found


def _received(screen: str) -> int:
    found: int = json.loads(screen)["handlers"][0]["received"]
    return found


async def _replays(tab: Tab, store: Path) -> None:
    await until(lambda: tab.evaluate("document.querySelectorAll('.letters .btn').length"))
    await tab.evaluate("document.querySelector('.letters .btn').click()")
    await until(lambda: tab.text(".letters [role=status]"), lambda text: "is published again" in text)
    await until(lambda: tab.text(".letters"), lambda text: "replayed" in text)
    with Store(store) as letters:
        assert sum(each.replays for each in letters.find(Filters())) == 1


async def _has_events_of_one_size(tab: Tab) -> None:
    first = await _screen(tab)
    later = await until(lambda: _screen(tab), lambda found: _received(found) > 3 * _received(first))
    assert len(later) < len(first) + MORE_BYTES, "an event does not grow with the number of messages"
