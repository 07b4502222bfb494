"""Deadlines: who stays in for so long is due, and one timer serves all."""

import asyncio

import pytest

from nsqkit.runtime.deadlines import Deadlines
from nsqkit.testing.clock import VirtualClock
from tests.unit.runtime.bench import passed, timers


async def test_each_is_due_in_its_time_unless_it_has_left(hours: VirtualClock) -> None:
    due: list[tuple[str, float]] = []
    deadlines: Deadlines[str] = Deadlines(10.0, lambda member: due.append((member, hours.elapsed_s)))
    for member in ("a", "b", "c"):
        deadlines.add(member)
        await passed(hours, 3.0)
    deadlines.discard("b")
    await passed(hours, 30.0)
    assert due == [("a", 10.0), ("c", 16.0)]


async def test_one_timer_serves_all(hours: VirtualClock) -> None:
    deadlines: Deadlines[int] = Deadlines(10.0, lambda _: None)
    for member in range(5):
        deadlines.add(member)
    assert timers() == ["Deadlines._fire"]
    for member in range(5):
        deadlines.discard(member)
    await passed(hours, 11.0)
    assert timers() == [], "nobody is in"


async def test_who_is_due_may_be_added_again(hours: VirtualClock) -> None:
    due: list[float] = []

    def again(member: str) -> None:
        due.append(hours.elapsed_s)
        if len(due) < 3:
            deadlines.add(member)

    deadlines: Deadlines[str] = Deadlines(1.0, again)
    assert deadlines.add("a") == pytest.approx(asyncio.get_running_loop().time() + 1.0)
    await passed(hours, 10.0)
    assert due == [1.0, 2.0, 3.0]


async def test_a_closed_one_calls_nobody(hours: VirtualClock) -> None:
    due: list[str] = []
    deadlines: Deadlines[str] = Deadlines(1.0, due.append)
    deadlines.add("a")
    deadlines.close()
    await passed(hours, 10.0)
    assert due == []
