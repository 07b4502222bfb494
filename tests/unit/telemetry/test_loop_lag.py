"""The lag sampler, on a clock that the test moves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from nsqkit.admin import LoopLag
from tests.waiting import PATIENCE_S


class _Timer:
    def __init__(self, callback: Callable[..., None], args: tuple[Any, ...]) -> None:
        self.run: Callable[[], None] = lambda: callback(*args)

    def cancel(self) -> None:
        self.run = lambda: None


class _Loop:
    """The two methods of an event loop that the sampler uses."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.due: list[tuple[float, _Timer]] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[..., None], *args: Any) -> _Timer:
        timer = _Timer(callback, args)
        self.due.append((when, timer))
        return timer

    def run_late(self, seconds: float) -> None:
        when, timer = self.due.pop()
        self.now_s = when + seconds
        timer.run()


def test_each_sample_is_the_time_after_the_timer_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = _Loop()
    seen: list[float] = []
    lag = LoopLag(seen.append, interval_s=0.5)
    monkeypatch.setattr("nsqkit.telemetry.loop_lag.asyncio.get_running_loop", lambda: loop)
    lag.start()
    lag.start()  # changes nothing
    assert [when for when, _ in loop.due] == [100.5]
    loop.run_late(0.25)
    loop.run_late(0.0)
    assert seen == [pytest.approx(0.25), 0.0]
    lag.stop()
    loop.run_late(1.0)
    assert len(seen) == 2
    lag.stop()


async def test_it_samples_on_a_real_loop() -> None:
    sampled = asyncio.Event()
    lag = LoopLag(lambda seconds: sampled.set() if seconds >= 0 else None, interval_s=0.001)
    lag.start()
    await asyncio.wait_for(sampled.wait(), PATIENCE_S)
    lag.stop()
