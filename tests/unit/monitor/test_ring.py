"""Rings: the numbers of the last 900 seconds, whatever the second at which they begin."""

import pytest

from nsqkit.monitor.ring import SECONDS, STEPS, Ring


@pytest.mark.parametrize("first", [0, 5, 895, 123_456])
def test_the_last_seconds_are_in_order(first: int) -> None:
    ring = Ring()
    for second in range(first, first + 10):
        ring.put(second, second - first + 1)
    assert list(ring.last(first + 9, 3)) == [8, 9, 10]
    assert list(ring.last(first + 9, 12)) == [0, 0, *range(1, 11)]


def test_a_second_of_15_minutes_ago_is_forgotten() -> None:
    ring = Ring()
    for second in range(2 * SECONDS):
        ring.put(second, second)
    assert list(ring.last(2 * SECONDS - 1, SECONDS)) == list(range(SECONDS, 2 * SECONDS))


@pytest.mark.parametrize("newest", [1, 7, 10])
def test_steps_begin_at_multiples_of_10_seconds(newest: int) -> None:
    """So that a line does not flicker: a finished step keeps its number until it leaves."""
    ring, second = Ring(), 10 * SECONDS - 10 + newest - 1
    for each in range(second - SECONDS + 1, second + 1):
        ring.put(each, each // 10)
    oldest = second // 10 - STEPS + 1
    sums = [10 * step for step in range(oldest, second // 10)]
    assert list(ring.totals(second)) == [*sums, newest * (second // 10)]
