"""Limits of the process: what the page shows of a figure."""

import pytest

from nsqkit.monitor.limit import Limit


@pytest.mark.parametrize("count", [1, 9, 25, 900])
def test_the_series_of_a_limit_has_90_steps_and_gaps_before_the_start(count: int) -> None:
    shown = Limit("cpu", "CPU", "%", 90.0, [5.0] * count).shown(7)
    assert len(shown["series"]) == 90
    steps = (count - 8 + 9) // 10 + 1 if count > 8 else 1
    assert [value for value in shown["series"] if value is not None] == [5.0] * min(90, steps)


def test_a_figure_without_a_limit_is_never_above_it() -> None:
    assert Limit("memory", "Memory", "MiB", None, [1e9] * 30).saturation is None


def test_a_limit_that_is_passed_is_named_with_its_figure() -> None:
    saturation = Limit("cpu", "CPU", "%", 90.0, [0.0] * 10 + [95.0] * 20).saturation
    assert saturation is not None
    assert (saturation.text, saturation.for_s) == ("CPU 95 %, limit 90", 20)
