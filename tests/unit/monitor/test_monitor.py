"""The monitor: one sample a second while somebody looks, and one text however many pages are open."""

import asyncio
from typing import Any

import pytest

from nsqkit.background import Background
from nsqkit.monitor import WorkerSource, monitor
from nsqkit.monitor.channels import Channels
from nsqkit.monitor.ring import STEP_S
from tests.unit.monitor.bench import CHARGE, NOTIFY, Shop
from tests.unit.runtime.bench import RecordingLog
from tests.waiting import PATIENCE_S, turns, until


async def test_it_samples_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "next_beat_s", lambda now_s, _: now_s)
    shop = Shop()
    shop.monitor.start(Background(RecordingLog()))
    shop.monitor.start(Background(RecordingLog()))
    async with asyncio.timeout(PATIENCE_S):
        assert await shop.monitor.sampled()
        assert await shop.monitor.sampled()
        shop.monitor.stop()
        shop.monitor.stop()
        assert not await shop.monitor.sampled()


async def test_it_samples_each_second_only_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample in each second would double the CPU of an idle worker."""
    steps: list[float] = []

    def at_once(now_s: float, every_s: float) -> float:
        steps.append(every_s)
        return now_s

    monkeypatch.setattr(monitor, "next_beat_s", at_once)
    shop = Shop()
    shop.monitor.start(Background(RecordingLog()))
    await until(lambda: len(steps) > 2)
    assert set(steps) == {STEP_S}
    assert await shop.monitor.sampled()
    await until(lambda: steps[-1] == 1.0)
    shop.now_s += 60.0
    await until(lambda: steps[-1] == STEP_S)
    shop.monitor.stop()


async def test_a_sampler_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "next_beat_s", lambda now_s, _: now_s)
    shop, background = Shop(), Background(RecordingLog())
    shop.monitor.start(background)
    monkeypatch.setattr(shop.metrics, "counts", lambda: 1 / 0)
    shop.now_s += 1.0
    died = await until(lambda: background.died)
    assert "monitor" in died[0]


async def test_the_text_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    look = WorkerSource.look

    async def counted(self: WorkerSource) -> Any:
        made.append(self)
        return await look(self)

    monkeypatch.setattr(WorkerSource, "look", counted)
    shop = Shop()
    texts = await asyncio.gather(*(shop.monitor.text() for _ in range(3)))
    shop.run(1)
    texts.append(await shop.monitor.text())
    assert len(made) == 2
    assert texts[0] == texts[2] != texts[3]


async def test_nsqd_is_asked_in_the_background_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    async def read(_channels: Channels, handlers: Any, workers: int, _now_s: Any) -> None:
        asked.append((list(handlers), workers))

    monkeypatch.setattr(Channels, "read", read)
    shop = Shop()
    await shop.monitor.text()
    assert asked == []
    shop.monitor.start(Background(RecordingLog()))
    for _ in range(2):
        shop.run(1)
        await shop.monitor.text()
        await turns()
    assert asked == [([CHARGE, NOTIFY], 1)]
    shop.monitor.stop()
