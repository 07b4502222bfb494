"""Thread queue: short calls have messages at hand, long ones hoard none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.thread_queue import ThreadQueue

DURATIONS = st.floats(min_value=0.0, max_value=3600.0)


def after(*groups: list[float]) -> ThreadQueue:
    queue = ThreadQueue()
    for group in groups:
        queue.ended(group)
    return queue


@pytest.mark.parametrize(
    ("groups", "per_thread"),
    [
        pytest.param([], 1.0, id="before the first end nothing waits"),
        pytest.param([[0.002]], 2.0, id="calls of 2 ms have one more at hand"),
        pytest.param([[0.001]], 3.0, id="calls of half of it two"),
        pytest.param([[0.0002] * 50], 11.0, id="and so on"),
        pytest.param([[0.02]], 1.1, id="of calls of 20 ms every tenth thread has one"),
        pytest.param([[200.0]], 1.00001, id="of long ones none"),
        pytest.param([[0.0]], 2001.0, id="a clock that shows no time stands for a microsecond"),
        pytest.param([[0.001, 0.003]], 2.0, id="calls that end together count by their average"),
        pytest.param([[0.002], [0.0021]], 2.0, id="what changes little changes nothing"),
    ],
)
def test_messages_in_flight_per_thread(groups: list[list[float]], per_thread: float) -> None:
    assert after(*groups).per_thread == pytest.approx(per_thread)


@pytest.mark.parametrize(
    ("before", "group", "changes"),
    [
        pytest.param([], [0.1], True, id="the first end"),
        pytest.param([[0.1]], [0.1] * 20, False, id="more of the same"),
        pytest.param([[0.1]], [0.2], False, id="one that takes twice as long"),
        pytest.param([[0.1]], [0.2] * 10, True, id="ten of them"),
        pytest.param([[0.1]], [0.01] * 10, True, id="ten that take a tenth"),
        pytest.param([[0.0001]], [1.0], True, id="one that hangs among short ones"),
    ],
)
def test_it_changes_once_the_average_has_changed_noticeably(
    before: list[list[float]],
    group: list[float],
    changes: bool,  # noqa: FBT001 - a case
) -> None:
    queue = after(*before)
    known = queue.per_thread
    assert queue.ended(group) is changes
    assert (queue.per_thread != known) is changes


def test_small_changes_add_up() -> None:
    queue = after([0.001])
    duration_s = 0.001
    for _ in range(100):
        duration_s *= 1.02
        queue.ended([duration_s] * 16)
    assert 1.0 < queue.per_thread < 2.0


def test_what_was_long_ago_is_forgotten() -> None:
    assert after([0.05] * 100, [0.0002] * 300).per_thread == pytest.approx(11.0, rel=0.25)


@given(st.lists(st.lists(DURATIONS, min_size=1), max_size=20))
def test_each_thread_has_its_message_and_calls_of_more_than_2_ms_hoard_at_most_one_more(
    groups: list[list[float]],
) -> None:
    queue = after(*groups)
    assert 1.0 <= queue.per_thread < 2001.1
    if groups and min(map(min, groups)) >= 0.002:
        assert queue.per_thread <= 2.001
