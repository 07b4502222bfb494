"""A saved incident: what the page shows, as one file that loads nothing, runs nothing and has no secret."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from nsqkit.admin import IntakeState
from nsqkit.monitor.channels import Channels
from nsqkit.monitor.incident import MOST_HANDLERS_WITH_ERRORS, incident, worst_first
from tests.unit.monitor.bench import CHARGE, NOTIFY, Shop

STYLE = (files("nsqkit.monitor") / "page" / "monitor.css").read_text()
EVIL = "<img src=x onerror=alert(1)> of 4111111111111111"


class Reader(HTMLParser):
    """What a browser finds in a file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [name for name, _ in attributes if name in {"src", "href"} or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


async def _saved(shop: Shop) -> str:
    return await shop.monitor.incident(STYLE)


async def test_it_has_what_the_page_shows() -> None:
    shop = Shop()
    shop.run(600)
    shop.run(60, failed=4)
    state = await shop.state()
    text = Reader(await _saved(shop)).text
    for shown in (
        state["verdict"]["line"],
        *state["verdict"]["evidence"],
        "Saved from the monitor page",
        "14:00:00 worker started",
        "Errors of Charge, 15 minutes ConnectionRefusedError monitor/bench.py:",
        "240 times, first 14:10:01, last 14:11:00",
        "requeue in 0.2s, try 1/5",
        "Event-loop lag",
        "40.0 % 40.0 % 8.0 %",
    ):
        assert shown in text


async def test_it_names_a_handler_at_its_limit() -> None:
    shop = Shop()
    state = await shop.state()
    state["handlers"][0] |= {"saturated": "100 of 100 in flight, while 7 messages wait"}
    text = Reader(await incident(state, {}, [], STYLE)).text
    assert "100 of 100 in flight, while 7 messages wait" in text
    assert "3 / 100 ▲ saturated" in text


async def test_it_runs_and_loads_nothing_and_texts_are_data() -> None:
    shop = Shop()
    shop.states[NOTIFY] = replace(shop.states[NOTIFY], name="<b>", problems=(EVIL,))
    shop.metrics.for_handler("orders", "notify", "<b>")
    shop.run(2, failed=1)
    saved = await _saved(shop)
    found = Reader(saved)
    assert found.links == []
    assert not found.tags & {"script", "img", "iframe", "link", "object", 'b"', "form", "input"}
    assert "<img" not in saved
    assert "<img src=x onerror=alert(1)> of [redacted]" in found.text
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', saved)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; style-src 'sha256-")


async def test_it_is_of_several_workers_too() -> None:
    shop = Shop()
    shop.run(60)
    shop.states[CHARGE] = replace(shop.states[CHARGE], worker=1)
    shop.states[NOTIFY] = replace(shop.states[CHARGE], worker=2, state=IntakeState.KILL_SWITCH_OPEN)
    assert "kill switch open in worker 2" in Reader(await _saved(shop)).text


async def test_it_has_nsqds_figures_and_both_counts_where_they_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop()
    shop.metrics.add_source(lambda: [("nsqkit_channel_depth", (*CHARGE, "a:4150"), 1234)])
    counts = {"seconds": 40, "nsqd": 55, "here": 40}
    shown = {"other_workers": ["shop-2"], "nsqd_counts": counts}
    monkeypatch.setattr(Channels, "shown", lambda *_: shown)
    text = Reader(await _saved(shop)).text
    assert "orders / payments, also read by shop-2" in text
    assert "nsqd counts 55 requeues in 40 s, here 40" in text
    assert "a:4150 – 1,234 – – –" in text


async def test_it_is_bounded_however_many_handlers_fail() -> None:
    rows = [
        {"name": f"Handler{number}", "level": "bad" if number else "ok", "m1": 0.5} for number in range(100)
    ]
    assert worst_first(rows)[-1]["name"] == "Handler0"
    shop = Shop()
    for number in range(2 * MOST_HANDLERS_WITH_ERRORS):
        labels = ("orders", "payments", f"Charge{number}")
        shop.states[labels] = replace(shop.states[CHARGE], name=labels[-1])
        shop.metrics.for_handler(*labels)
    asked: list[str] = []
    errors = shop.failures.errors

    def counted(name: str) -> list[dict[str, object]]:
        asked.append(name)
        return errors(name)

    shop.failures.errors = counted  # type: ignore[method-assign]
    shop.run(1)
    saved = await _saved(shop)
    assert len(asked) == MOST_HANDLERS_WITH_ERRORS
    assert saved.count('<tr class="i-row') == len(json.loads(await shop.monitor.text())["handlers"])
