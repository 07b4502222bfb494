"""Sagas in a saved incident: the same as on the page, with the timelines of those that need attention."""

from dataclasses import replace
from typing import Any

from tests.unit.monitor.bench import Shop
from tests.unit.monitor.saga_bench import NEEDS, RUNS, SECRET, FakeReader, group
from tests.unit.monitor.test_incident import STYLE, Reader


async def _saved(**changes: Any) -> Reader:
    reader = FakeReader()
    reader.instances = [replace(NEEDS, **changes), RUNS]
    return Reader(await Shop(groups=[group(reader)]).monitor.incident(STYLE))


async def test_it_has_counts_instances_and_timelines() -> None:
    text = (await _saved()).text
    for shown in (
        "Sagas ▲ 1 needs attention Saga Needs attention Running Compensating Completed Compensated Ship",
        "database orders 1 10,000 or more 0 7 0",
        "o 1 Ship v1 Needs attention charge/undo 5",
        "card [redacted]",
        "o2 Ship v2 Running reserve 1",
        "Ship o 1, version 1 started at 2026-11-29 13:46:40 UTC +0.000 s ○ version 1 begun",
        "+1.500 s ✗ charge failed for good: card [redacted]",
        "▲ needs attention: card [redacted]",
    ):
        assert shown in text
    assert SECRET not in text


async def test_keys_are_redacted_as_the_file_is_passed_on() -> None:
    text = (await _saved(key=f"order-{SECRET}")).text
    assert SECRET not in text
    assert "order-[redacted]" in text


async def test_texts_are_data() -> None:
    found = await _saved(key="<img src=x>", reason="<script>alert(1)</script>")
    assert not {"img", "script"} & found.tags


async def test_a_worker_without_a_saga_has_no_card() -> None:
    assert "Sagas" not in Reader(await Shop().monitor.incident(STYLE)).text


async def test_a_database_that_is_away_is_named() -> None:
    reader = FakeReader()
    reader.error = ValueError("no route")
    text = Reader(await Shop(groups=[group(reader)]).monitor.incident(STYLE)).text
    assert "Sagas ValueError: no route" in text
