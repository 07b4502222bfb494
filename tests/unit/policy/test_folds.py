"""Folds: of many like lines the first is written, and the others are counted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.folds import FIRST_WINDOW_S, LONGEST_WINDOW_S, MOST_KINDS, Folds, Repeats


def said(folds: Folds[str], kind: str, now_s: float) -> bool:
    """Return whether a line is written, and open its window if it is."""
    if folds.count(kind, now_s=now_s):
        return False
    folds.add(kind, f"first {kind}", now_s=now_s)
    return True


@pytest.mark.parametrize(
    ("times_s", "written"),
    [
        pytest.param([0.0], [True], id="the first line is written"),
        pytest.param([0.0, 0.0, 4.9], [True, False, False], id="repeats in its window are counted"),
        pytest.param([0.0, 5.0], [True, True], id="after a quiet window it is a first line again"),
        pytest.param(
            [0.0, 4.0, 6.0], [True, False, False], id="a window with repeats stays until it is taken"
        ),
    ],
)
def test_a_line_is_written_or_counted(times_s: list[float], written: list[bool]) -> None:
    folds: Folds[str] = Folds()
    assert [said(folds, "a", now_s) for now_s in times_s] == written


def test_kinds_are_counted_apart() -> None:
    folds: Folds[str] = Folds()
    assert [said(folds, kind, 0.0) for kind in "abab"] == [True, True, False, False]
    assert folds.take(now_s=5.0) == [Repeats("first a", 1, 5.0), Repeats("first b", 1, 5.0)]


@pytest.mark.parametrize(
    ("now_s", "all_counts", "repeats"),
    [
        pytest.param(4.9, False, [], id="a count is not due before its window ends"),
        pytest.param(5.0, False, [Repeats("first a", 2, 5.0)], id="it is due when the window ends"),
        pytest.param(7.5, False, [Repeats("first a", 2, 7.5)], id="a late timer counts on"),
        pytest.param(1.0, True, [Repeats("first a", 2, 1.0)], id="at exit every count is due"),
    ],
)
def test_a_count_is_due_once(now_s: float, repeats: list[Repeats[str]], *, all_counts: bool) -> None:
    folds: Folds[str] = Folds()
    for _ in range(3):
        said(folds, "a", 0.0)
    assert folds.take(now_s=now_s, all_counts=all_counts) == repeats
    if repeats:
        assert folds.take(now_s=now_s, all_counts=True) == []


def test_without_a_repeat_nothing_is_due() -> None:
    folds: Folds[str] = Folds()
    assert folds.due_s == math.inf
    said(folds, "a", 0.0)
    assert folds.due_s == math.inf
    assert folds.take(now_s=100.0, all_counts=True) == []


def test_while_a_kind_goes_on_its_windows_grow_and_only_counts_are_written() -> None:
    folds: Folds[str] = Folds()
    said(folds, "a", 0.0)
    ends_s = []
    for _ in range(6):
        now_s = folds.due_s if folds.due_s < math.inf else 0.0
        folds.take(now_s=now_s)
        assert not said(folds, "a", now_s)
        ends_s.append(folds.due_s - now_s)
    assert ends_s == [FIRST_WINDOW_S, 10.0, 20.0, 40.0, LONGEST_WINDOW_S, LONGEST_WINDOW_S]


def test_a_kind_that_stops_is_a_first_line_when_it_comes_again() -> None:
    folds: Folds[str] = Folds()
    assert [said(folds, "a", now_s) for now_s in (0.0, 1.0)] == [True, False]
    folds.take(now_s=5.0)
    assert said(folds, "a", 15.0)
    assert not said(folds, "a", 15.0)
    assert folds.due_s == 15.0 + FIRST_WINDOW_S


class TestManyKinds:
    def test_further_kinds_are_counted_together_and_none_is_written(self) -> None:
        folds: Folds[str] = Folds()
        written = [said(folds, f"kind {n}", 0.0) for n in range(MOST_KINDS + 3)]
        assert written.count(True) == MOST_KINDS
        assert folds.take(now_s=5.0) == [Repeats(None, 3, 5.0)]

    def test_those_that_are_over_make_room(self) -> None:
        folds: Folds[str] = Folds()
        for n in range(MOST_KINDS):
            said(folds, f"kind {n}", 0.0)
        assert said(folds, "new", FIRST_WINDOW_S)
        assert len(folds._windows) == 1

    def test_a_pause_between_further_kinds_is_not_counted(self) -> None:
        folds: Folds[str] = Folds()
        for n in range(MOST_KINDS):
            said(folds, f"kind {n}", 0.0)
            said(folds, f"kind {n}", 0.0)
        assert not said(folds, "new", 1.0)
        folds.take(now_s=6.0)
        for n in range(MOST_KINDS):
            said(folds, f"kind {n}", 7.0)
        assert not said(folds, "newer", 14.0)
        assert folds.take(now_s=24.0)[-1] == Repeats(None, 1, 10.0)


@given(st.lists(st.tuples(st.integers(0, 2 * MOST_KINDS), st.floats(0.0, 20.0)), max_size=200))
def test_every_line_is_written_or_counted_and_memory_is_bounded(steps: list[tuple[int, float]]) -> None:
    folds: Folds[str] = Folds()
    now_s, written, counted = 0.0, 0, 0
    for kind, pause_s in steps:
        now_s += pause_s
        counted += sum(each.times for each in folds.take(now_s=now_s))
        written += said(folds, str(kind), now_s)
        assert len(folds._windows) <= MOST_KINDS
    counted += sum(each.times for each in folds.take(now_s=now_s, all_counts=True))
    assert written + counted == len(steps)
