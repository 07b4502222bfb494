"""Counts the timers that code under test sets on the event loop."""

import asyncio

import pytest


def count_timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that gets the delay of each timer that is set from now on."""
    loop = asyncio.get_running_loop()
    call_later, delays = loop.call_later, list[float]()

    def counting(delay_s: float, *call: object) -> asyncio.TimerHandle:
        delays.append(delay_s)
        return call_later(delay_s, *call)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_later", counting)
    return delays
