"""Saturation: a limit is passed if the median of 10 seconds is above it."""

import pytest

from nsqkit.policy.saturation import passed_for_s


@pytest.mark.parametrize(
    ("values", "passed_s"),
    [
        pytest.param([], 0, id="no data"),
        pytest.param([1.0] * 9, 0, id="too little data"),
        pytest.param([1.0] * 10, 10, id="ten seconds above"),
        pytest.param([1.0] * 25, 20, id="in whole steps"),
        pytest.param([0.0] * 10 + [1.0] * 10, 10, id="since a moment"),
        pytest.param([1.0] * 10 + [0.0] * 10, 0, id="over again"),
        pytest.param([0.0] * 9 + [9.0], 0, id="one peak is none"),
        pytest.param([0.5] * 10, 0, id="at the limit"),
    ],
)
def test_passed_for(values: list[float], passed_s: int) -> None:
    assert passed_for_s(values, 0.5) == passed_s
