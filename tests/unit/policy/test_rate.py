"""Rate limits: tokens come at a steady rate, up to a burst, and waiting as long as told is enough."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.rate import RateLimit, TokenBucket

RATES = st.floats(0.01, 10_000)


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        pytest.param({"per_s": 0}, ValueError, "RateLimit(per_s=0): must be above 0", id="no rate"),
        pytest.param(
            {"per_s": 1_000_000.5},
            ValueError,
            "RateLimit(per_s=1000000.5): must be 1e+06 or less",
            id="more than a million",
        ),
        pytest.param({"per_s": "9"}, TypeError, "RateLimit(per_s='9'): give a number", id="a text"),
        pytest.param(
            {"per_s": 1, "burst": 0}, ValueError, "RateLimit(burst=0): not in 1..1000000", id="no burst"
        ),
        pytest.param(
            {"per_s": 1, "burst": 1.5},
            TypeError,
            "RateLimit(burst=1.5): give a whole number",
            id="half a message",
        ),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(
    values: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        RateLimit(**values)
    assert str(caught.value) == problem


@pytest.mark.parametrize("per_s", [1e-6, 1, 1_000_000])
def test_a_limit_in_its_range_has_a_burst_of_one(per_s: float) -> None:
    assert RateLimit(per_s) == RateLimit(per_s=per_s, burst=1)


@pytest.mark.parametrize(
    ("limit", "times_s", "waits_s"),
    [
        pytest.param(RateLimit(2), [100, 100, 100.25, 100.5], [0, 0.5, 0.25, 0], id="one at a time"),
        pytest.param(RateLimit(2, 3), [5, 5, 5, 5], [0, 0, 0, 0.5], id="a burst at first"),
        pytest.param(
            RateLimit(2, 3),
            [5, 5, 5, 5.5, 5.5, 6.5, 6.5, 6.5],
            [0, 0, 0, 0, 0.5, 0, 0, 0.5],
            id="then the rate",
        ),
        pytest.param(
            RateLimit(2, 3), [5, 5, 5, 1000, 1000, 1000, 1000], [0, 0, 0, 0, 0, 0, 0.5], id="rest fills it up"
        ),
        pytest.param(RateLimit(0.1), [0, 9, 10], [0, 1, 0], id="less than one a second"),
        pytest.param(RateLimit(1e6), [0, 0, 0], [0, 0, 2e-6], id="a microsecond too early is not early"),
    ],
)
def test_tokens(limit: RateLimit, times_s: list[float], waits_s: list[float]) -> None:
    bucket = TokenBucket(limit)
    assert [bucket.take(now_s) for now_s in times_s] == [pytest.approx(wait_s) for wait_s in waits_s]


@given(RATES, st.integers(1, 20), st.floats(0, 1e7), st.integers(1, 200))
def test_waiting_as_long_as_told_is_enough_and_keeps_the_rate(
    per_s: float, burst: int, start_s: float, taken: int
) -> None:
    bucket = TokenBucket(RateLimit(per_s, burst))
    now_s = start_s
    for _ in range(taken):
        if wait_s := bucket.take(now_s):
            now_s += wait_s
            assert bucket.take(now_s) == 0
    least_s = max(0, taken - burst) / per_s
    assert now_s - start_s == pytest.approx(least_s, abs=1e-3)


@given(RATES, st.integers(1, 20), st.lists(st.floats(0, 5), max_size=200))
def test_no_more_than_the_burst_and_the_rate_are_taken(
    per_s: float, burst: int, pauses_s: list[float]
) -> None:
    bucket = TokenBucket(RateLimit(per_s, burst))
    now_s = taken = 0.0
    for pause_s in pauses_s:
        now_s += pause_s
        taken += bucket.take(now_s) == 0
    assert taken <= burst + now_s * per_s + 0.05
