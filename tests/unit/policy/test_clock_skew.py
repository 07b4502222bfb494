"""Skews of two clocks, from a date in whole seconds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.clock_skew import DATE_STEP_S, is_reported, skew_s


@pytest.mark.parametrize(
    ("date_s", "sent_s", "received_s", "expected_s"),
    [
        pytest.param(100.0, 100.2, 100.3, 0.0, id="the same clock"),
        pytest.param(100.0, 100.999, 101.0, 0.0, id="within the step of the date"),
        pytest.param(100.0, 98.0, 100.0, 0.0, id="a slow answer that may hide a skew"),
        pytest.param(100.0, 700.2, 700.3, 600.3, id="ten minutes ahead"),
        pytest.param(700.0, 100.2, 100.3, -599.7, id="ten minutes behind"),
    ],
)
def test_skew(date_s: float, sent_s: float, received_s: float, expected_s: float) -> None:
    assert skew_s(date_s, sent_s=sent_s, received_s=received_s) == pytest.approx(expected_s)


@given(
    server_s=st.floats(1e9, 2e9),
    ahead_s=st.floats(-1e6, 1e6),
    way_s=st.floats(0, 5),
    back_s=st.floats(0, 5),
)
def test_a_corrected_age_is_never_above_the_true_one(
    server_s: float, ahead_s: float, way_s: float, back_s: float
) -> None:
    """Except where the clocks may agree."""
    sent_s, received_s = server_s - way_s + ahead_s, server_s + back_s + ahead_s
    found_s = skew_s(math.floor(server_s), sent_s=sent_s, received_s=received_s)
    assert found_s == 0.0 or found_s >= ahead_s - 1e-5
    assert abs(found_s - ahead_s) <= DATE_STEP_S + way_s + back_s + 1e-5


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_time_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="date_s"):
        skew_s(bad, sent_s=0.0, received_s=0.0)


@pytest.mark.parametrize(
    ("seconds", "before", "expected"),
    [
        pytest.param(1.9, False, False, id="too little"),
        pytest.param(2.0, False, True, id="ahead"),
        pytest.param(-2.0, False, True, id="behind"),
        pytest.param(0.5, True, True, id="still apart"),
        pytest.param(0.0, True, False, id="they agree again"),
    ],
)
def test_a_skew_is_reported_until_the_clocks_agree(seconds: float, before: bool, expected: bool) -> None:  # noqa: FBT001
    assert is_reported(seconds, before=before) is expected
