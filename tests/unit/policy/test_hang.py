"""Hangs: no sign of life at two looks in a row, from a subscription whose nsqd answers."""

import pytest

from nsqkit.policy.hang import HUNG_S, hung, silent


@pytest.mark.parametrize(
    ("sign_s", "is_silent"),
    [
        pytest.param(0.0, True, id="for a quarter of an hour"),
        pytest.param(0.1, False, id="for less"),
        pytest.param(HUNG_S, False, id="just heard"),
    ],
)
def test_silence_is_long(sign_s: float, *, is_silent: bool) -> None:
    assert silent({"a": sign_s}, now_s=HUNG_S) == ({"a": sign_s} if is_silent else {})


@pytest.mark.parametrize(
    ("before", "now", "answering", "expected"),
    [
        pytest.param({"a": 1.0}, {"a": 1.0}, {"a"}, {"a": 1.0}, id="silent twice, and nsqd answers"),
        pytest.param({"a": 1.0}, {"a": 1.0}, set(), {}, id="nsqd does not answer"),
        pytest.param({"a": 1.0}, {"a": 1.0}, {"b"}, {}, id="another nsqd answers"),
        pytest.param({}, {"a": 1.0}, {"a"}, {}, id="silent for the first time"),
        pytest.param({"a": 1.0}, {"a": 2.0}, {"a"}, {}, id="there was a sign in between"),
        pytest.param({"a": 1.0}, {}, {"a"}, {}, id="it has shown a sign, or is gone"),
        pytest.param({}, {}, {"a"}, {}, id="nobody is silent"),
    ],
)
def test_what_hangs(
    before: dict[str, float], now: dict[str, float], answering: set[str], expected: dict[str, float]
) -> None:
    assert hung(before, now, answering) == expected
