"""Requeue levels: from which share of failed deliveries a handler is failing, and when nothing is known."""

import pytest

from nsqkit.policy.requeue_level import Level, Share, level_of, threshold


@pytest.mark.parametrize(
    ("share", "ratio"),
    [
        pytest.param(Share(0, 0), None, id="no deliveries is not 0 %"),
        pytest.param(Share(1, 4), 0.25, id="failed by received"),
        pytest.param(Share(5, 4), 1.0, id="failures of deliveries that arrived before do not exceed 100 %"),
    ],
)
def test_ratio(share: Share, ratio: float | None) -> None:
    assert share.ratio == ratio


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        pytest.param(None, 0.1, id="without a baseline 10 %"),
        pytest.param(0.0, 0.02, id="at least 2 points above a handler that never fails"),
        pytest.param(0.02, 0.06, id="three times the usual"),
        pytest.param(0.5, 0.1, id="10 % is always failing"),
    ],
)
def test_threshold(baseline: float | None, expected: float) -> None:
    assert threshold(baseline) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("minute", "baseline", "is_paused", "expected"),
    [
        pytest.param(Share(10, 100), None, False, Level.BAD, id="10 % is failing"),
        pytest.param(Share(9, 100), None, False, Level.WARN, id="half of it is to watch"),
        pytest.param(Share(4, 100), None, False, Level.OK, id="less is healthy"),
        pytest.param(Share(3, 100), 0.0, False, Level.BAD, id="3 % fails where nothing used to"),
        pytest.param(Share(3, 100), 0.03, False, Level.OK, id="3 % is usual where 3 % used to fail"),
        pytest.param(Share(3, 3), None, False, Level.OK, id="few deliveries make nobody failing"),
        pytest.param(Share(0, 0), None, False, Level.UNKNOWN, id="no deliveries is unknown, not healthy"),
        pytest.param(Share(0, 0), None, True, Level.HELD, id="paused is its own level"),
        pytest.param(Share(50, 100), None, True, Level.BAD, id="failing comes before paused"),
    ],
)
def test_level(
    minute: Share,
    baseline: float | None,
    is_paused: bool,  # noqa: FBT001 - a column of the table
    expected: Level,
) -> None:
    assert level_of(minute, baseline, is_paused=is_paused) is expected
