"""Change points: the first step from which on a share stays high."""

import pytest

from nsqkit.policy.change_point import change_point
from nsqkit.policy.requeue_level import Share

LOW, HIGH, NONE = Share(0, 100), Share(30, 100), Share(0, 0)


@pytest.mark.parametrize(
    ("shares", "index"),
    [
        pytest.param([], None, id="no data"),
        pytest.param([LOW, LOW], None, id="never high"),
        pytest.param([HIGH, LOW], None, id="high before, low now"),
        pytest.param([LOW, HIGH, HIGH], 1, id="high from the second step on"),
        pytest.param([HIGH, HIGH], 0, id="high since before the data begin"),
        pytest.param([LOW, HIGH, LOW, HIGH], 1, id="one low step is noise"),
        pytest.param([HIGH, LOW, LOW, HIGH], 3, id="two low steps are an end"),
        pytest.param([LOW, HIGH, NONE, HIGH, NONE], 1, id="steps without deliveries decide nothing"),
        pytest.param([LOW, HIGH, LOW, HIGH, LOW, HIGH], 1, id="single low steps are noise, however many"),
    ],
)
def test_change_point(shares: list[Share], index: int | None) -> None:
    assert change_point(shares, 0.1) == index
