"""Lease: until when a delivery is ours, and when nsqd is asked for more time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.lease import MARGIN_S, cap_s, ends_s, margin_s, touch_s


@pytest.mark.parametrize(
    ("lease_s", "expected_s"),
    [
        pytest.param(60.0, 1.0, id="a second"),
        pytest.param(4.0, 1.0, id="down to a lease of four"),
        pytest.param(2.0, 0.5, id="then a quarter of the lease"),
        pytest.param(0.1, 0.025, id="however short"),
    ],
)
def test_the_margin(lease_s: float, expected_s: float) -> None:
    assert margin_s(lease_s) == expected_s


@pytest.mark.parametrize(
    ("received_s", "touched_s", "lease_s", "max_lease_s", "expected_s"),
    [
        pytest.param(100, 100, 60, 900, 159, id="a margin before nsqd's time is over"),
        pytest.param(100, 130, 60, 900, 189, id="counted from the last touch"),
        pytest.param(100, 970, 60, 900, 999, id="but not beyond nsqd's longest"),
        pytest.param(100, 100, 2, 900, 101.5, id="a short lease has a short margin"),
        pytest.param(100, 100, 60, 30, 159, id="the first lease is granted, whatever the longest"),
    ],
)
def test_when_a_delivery_is_lost(
    received_s: float, touched_s: float, lease_s: float, max_lease_s: float, expected_s: float
) -> None:
    assert ends_s(received_s, touched_s, lease_s=lease_s, max_lease_s=max_lease_s) == expected_s


@pytest.mark.parametrize(
    ("touched_s", "max_lease_s", "keep_until_s", "expected_s"),
    [
        pytest.param(100, 900, math.inf, 130, id="at half of the lease"),
        pytest.param(130, 900, math.inf, 160, id="and at half of the next"),
        pytest.param(100, 900, 131, 130, id="while it is wanted"),
        pytest.param(100, 900, 130, math.inf, id="not when it is wanted no longer by then"),
        pytest.param(939, 900, math.inf, 969, id="as long as that gains time"),
        pytest.param(940, 900, math.inf, math.inf, id="not when nsqd would grant no more"),
        pytest.param(100, 60, math.inf, math.inf, id="never where the lease is the longest there is"),
        pytest.param(100, 30, math.inf, math.inf, id="nor where it is longer"),
    ],
)
def test_when_to_touch(touched_s: float, max_lease_s: float, keep_until_s: float, expected_s: float) -> None:
    due_s = touch_s(100, touched_s, lease_s=60, max_lease_s=max_lease_s, keep_until_s=keep_until_s)
    assert due_s == expected_s


LEASES = st.floats(10.0, 900.0)


@given(LEASES, st.floats(0.01, 3600.0), st.floats(0.0, 1e6), st.floats(0.0, 1.0))
def test_touched_when_due_it_is_held_to_the_cap_and_never_lost_before(
    lease_s: float, max_lease_s: float, received_s: float, late_ratio: float
) -> None:
    """Also if each TOUCH goes out late, by as much as nsqd's time leaves after the margin."""
    touched_s, touches = received_s, 0
    end_s = cap_s(received_s, lease_s=lease_s, max_lease_s=max_lease_s)
    for _ in range(10 + int(2 * max_lease_s / lease_s)):
        due_s = touch_s(
            received_s, touched_s, lease_s=lease_s, max_lease_s=max_lease_s, keep_until_s=math.inf
        )
        lost_s = ends_s(received_s, touched_s, lease_s=lease_s, max_lease_s=max_lease_s)
        assert lost_s <= end_s
        if due_s == math.inf:
            break
        assert due_s <= lost_s - lease_s / 4 + 1e-6
        touched_s = due_s + late_ratio * (lost_s - due_s) * 0.99
        touches += 1
    assert lost_s == pytest.approx(end_s)
    assert touches <= 1 + 2 * max_lease_s / lease_s


@given(LEASES, st.floats(0.01, 3600.0))
def test_what_was_never_started_can_be_given_back_a_margin_before_it_is_lost(
    lease_s: float, max_lease_s: float
) -> None:
    margin = margin_s(lease_s)
    assert 0 < margin <= MARGIN_S
    assert cap_s(0.0, lease_s=lease_s, max_lease_s=max_lease_s) - margin >= lease_s / 2 - 1e-9
