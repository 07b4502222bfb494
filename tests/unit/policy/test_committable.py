"""Committable: only a partition's contiguous prefix is committed, and a committed offset never moves back."""

import hypothesis
import pytest
from hypothesis import strategies

from nsqkit.policy.committable import Committable


def progress(read: list[int], confirmed: list[int]) -> Committable:
    found = Committable()
    for offset in read:
        found.read(offset)
    for offset in confirmed:
        found.confirm(offset)
    return found


@pytest.mark.parametrize(
    ("read", "confirmed", "offset"),
    [
        pytest.param([], [], None, id="nothing was read"),
        pytest.param([5, 6, 7], [5, 6, 7], 8, id="all are confirmed"),
        pytest.param([5, 6, 7], [5], 6, id="up to the first that is not confirmed"),
        pytest.param([5, 6, 7], [6, 7], None, id="none behind one that is not confirmed"),
        pytest.param([5, 9, 12], [5, 9], 12, id="gaps of compaction and transactions are no records"),
        pytest.param([5, 6], [6, 5], 7, id="the order of confirming is no matter"),
        pytest.param([5], [5, 5, 99], 6, id="what was not read is left out"),
    ],
)
def test_offset(read: list[int], confirmed: list[int], offset: int | None) -> None:
    assert progress(read, confirmed).offset == offset


def test_an_offset_is_committed_once() -> None:
    found = progress([5, 6], [5])
    found.commit(6)
    assert progress_after(found, 5) is None
    assert progress_after(found, 6) == 7


def progress_after(found: Committable, confirmed: int) -> int | None:
    found.confirm(confirmed)
    return found.offset


def test_records_that_are_read_again_move_nothing_back() -> None:
    found = progress([5, 6], [5, 6])
    found.commit(7)
    found.read(5)
    found.confirm(5)
    assert found.offset is None


def test_the_end_that_the_broker_reports_counts_once_all_is_confirmed() -> None:
    """The marker of a transaction takes an offset and is no record: without this, a lag of 1 would stay."""
    found = progress([5], [])
    found.reach(7)
    assert progress_after(found, 4) is None
    assert progress_after(found, 5) == 7
    found.reach(3)
    assert progress_after(found, 5) == 7


def test_unconfirmed_records_are_known() -> None:
    assert progress([5], []).has_unconfirmed
    assert not progress([5], [5]).has_unconfirmed


@hypothesis.given(strategies.data())
def test_a_commit_has_only_confirmed_records_before_it_and_grows(data: strategies.DataObject) -> None:
    gaps = data.draw(strategies.lists(strategies.integers(1, 3), max_size=12))
    offsets = [sum(gaps[: number + 1]) for number in range(len(gaps))]
    found = progress(offsets, [])
    confirmed: set[int] = set()
    last = -1
    for offset in data.draw(strategies.permutations(offsets)):
        found.confirm(offset)
        confirmed.add(offset)
        if (committed := found.offset) is not None:
            assert committed > last
            assert {each for each in offsets if each < committed} <= confirmed
            found.commit(committed)
            last = committed
    assert not offsets or last == offsets[-1] + 1
