"""Requeues: the next one is known while it is ahead, and many in one second take no more room than one."""

import pytest

from nsqkit.runtime.requeues import Requeues


def test_without_a_requeue_none_is_due() -> None:
    assert Requeues().next_in_s(5.0) is None


def test_the_earliest_that_is_ahead_is_next() -> None:
    requeues = Requeues()
    for delay_s in (60.0, 30.0, 90.0):
        requeues.add(delay_s, now_s=100.0)
    assert requeues.next_in_s(100.0) == 30.0
    assert requeues.next_in_s(129.5) == 0.5
    assert requeues.next_in_s(130.0) == 30.0
    assert requeues.next_in_s(190.0) is None


@pytest.mark.parametrize("delay_s", [0.2, 1.0])
def test_it_is_never_too_early(delay_s: float) -> None:
    requeues = Requeues()
    requeues.add(delay_s, now_s=100.5)
    assert requeues.next_in_s(100.5) in {0.5, 1.5}


def test_it_keeps_one_entry_a_second_and_forgets_what_is_past() -> None:
    requeues = Requeues()
    for n in range(10_000):
        requeues.add(10.0, now_s=n / 100)
    assert len(requeues._due) == len(requeues._known) <= 11
