"""The one timer of all handlers: each check is called when due, with few wake-ups and none while idle."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from nsqkit.nsq.rdy_timer import RdyTimer
from nsqkit.testing.clock import VirtualClock
from tests.unit.nsq.timers import count_timers
from tests.unit.runtime.bench import passed


def about(*calls: tuple[str, float]) -> list[Any]:
    """Return calls as they are noted: up to a grain late."""
    return [(name, pytest.approx(due_s + 0.0005, abs=0.0006)) for name, due_s in calls]


class Checks:
    """Some checks, which note when they are called."""

    def __init__(self, hours: VirtualClock) -> None:
        self.timer = RdyTimer(hours.now_s)
        self.called: list[tuple[str, float]] = []
        self._begin_s = hours.now_s()
        self._now_s = hours.now_s
        self._checks: dict[str, Callable[[float], None]] = {}

    @property
    def is_set(self) -> bool:
        """Whether the loop will wake up for them."""
        return self.timer._handle is not None

    def call(self, name: str, due_s: float) -> None:
        self.timer.call_at(self._begin_s + due_s, self._check(name), now_s=self._now_s())

    def cancel(self, name: str) -> None:
        self.timer.cancel(self._check(name))

    def _check(self, name: str) -> Callable[[float], None]:
        def check(now_s: float) -> None:
            self.called.append((name, now_s - self._begin_s))

        return self._checks.setdefault(name, check)


@pytest.fixture
def checks(hours: VirtualClock) -> Checks:
    return Checks(hours)


async def test_each_is_called_once_when_it_is_due(checks: Checks, hours: VirtualClock) -> None:
    checks.call("late", 0.1)
    checks.call("early", 0.02)
    checks.call("later", 0.5)
    await passed(hours, 0.2)
    assert checks.called == about(("early", 0.02), ("late", 0.1))
    await passed(hours, 10.0)
    assert checks.called[2:] == about(("later", 0.5))


async def test_the_last_request_counts(checks: Checks, hours: VirtualClock) -> None:
    checks.call("sooner", 0.1)
    checks.call("sooner", 0.02)
    checks.call("put off", 0.02)
    checks.call("put off", 0.1)
    await passed(hours, 10.0)
    assert checks.called == about(("sooner", 0.02), ("put off", 0.1))


async def test_what_was_cancelled_is_not_called_and_leaves_no_timer(
    checks: Checks, hours: VirtualClock
) -> None:
    checks.call("first", 0.02)
    checks.call("second", 0.1)
    checks.cancel("first")
    checks.cancel("unknown")
    checks.call("second", math.inf)
    assert not checks.is_set
    await passed(hours, 10.0)
    assert checks.called == []


async def test_after_the_last_call_nothing_is_scheduled(checks: Checks, hours: VirtualClock) -> None:
    for number in range(100):
        checks.call(f"handler {number}", 0.001 * number)
    await passed(hours, 1.0)
    assert len(checks.called) == 100
    assert not checks.is_set


async def test_checks_that_are_due_within_a_millisecond_share_a_wake_up(
    checks: Checks, hours: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers = count_timers(monkeypatch)
    for number in range(100):
        checks.call(f"handler {number}", 0.05 + 0.0001 * number)
    await passed(hours, 1.0)
    assert len(checks.called) == 100
    assert len(timers) <= 11


async def test_a_check_that_is_put_off_in_time_causes_no_wake_up(
    checks: Checks, hours: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As each chunk of messages does; the timer is not set again for each."""
    timers = count_timers(monkeypatch)
    monkeypatch.setattr(checks.timer, "_fire", lambda: pytest.fail("a wake-up for nothing"))
    for number in range(100):
        checks.call("busy", 0.001 * number + 0.008)
        await passed(hours, 0.001)
    assert len(timers) <= 100 / 4 + 1
    checks.cancel("busy")


async def test_a_check_may_ask_for_its_next_call_and_cancel_another(
    checks: Checks, hours: VirtualClock
) -> None:
    turns: list[float] = []

    def check(now_s: float) -> None:
        turns.append(now_s)
        checks.cancel("other")
        checks.timer.call_at(now_s + 0.05, check, now_s=now_s)

    checks.timer.call_at(hours.now_s() + 0.05, check, now_s=hours.now_s())
    checks.call("other", 0.0505)
    await passed(hours, 1.02)
    assert len(turns) in {19, 20}
    assert checks.called == []
    checks.timer.cancel(check)


async def test_a_check_that_raises_keeps_no_other_from_its_call(checks: Checks, hours: VirtualClock) -> None:
    errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    def raising(_: float) -> None:
        raise ZeroDivisionError

    checks.timer.call_at(hours.now_s() + 0.05, raising, now_s=hours.now_s())
    checks.call("other", 0.05)
    await passed(hours, 1.0)
    assert [type(error["exception"]) for error in errors] == [ZeroDivisionError]
    assert [name for name, _ in checks.called] == ["other"]
