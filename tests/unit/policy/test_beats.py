"""When periodic timers fire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.beats import next_beat_s


@pytest.mark.parametrize(
    ("now_s", "every_s", "beat_s"),
    [(0.0, 0.5, 0.5), (0.49, 0.5, 0.5), (0.5, 0.5, 1.0), (100.6, 0.25, 100.75), (7.0, 2.0, 8.0)],
)
def test_the_next_beat_is_the_next_multiple(now_s: float, every_s: float, beat_s: float) -> None:
    assert next_beat_s(now_s, every_s) == beat_s


@given(st.floats(0, 1e8), st.floats(0.001, 60))
def test_it_is_later_by_at_most_one_interval(now_s: float, every_s: float) -> None:
    wait_s = next_beat_s(now_s, every_s) - now_s
    assert 0 < wait_s <= every_s * 1.001 + 1e-7


def test_timers_with_intervals_in_a_ratio_meet() -> None:
    now_s = 1234.3
    assert next_beat_s(next_beat_s(now_s, 0.25), 0.25) in {
        next_beat_s(now_s, 0.5),
        next_beat_s(now_s, 0.5) + 0.25,
    }
