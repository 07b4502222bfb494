"""Outcomes: values that a handler can only make with numbers that can be meant."""

import math
from typing import Any

import pytest

from nsqkit.policy.outcome import DeadLetter, Discard, Finish, Pause, Requeue

NOT_SECONDS = [
    pytest.param(-0.001, id="before now"),
    pytest.param(math.inf, id="never"),
    pytest.param(-math.inf, id="before all time"),
    pytest.param(math.nan, id="no number"),
    pytest.param("5", id="a text"),
    pytest.param(True, id="a boolean"),
]


@pytest.mark.parametrize("delay_s", [None, 0, 0.0, 5, 0.5, 7200.0])
def test_a_requeue_has_a_delay_or_leaves_it_to_the_backoff(delay_s: float | None) -> None:
    assert Requeue(delay_s).delay_s == delay_s


@pytest.mark.parametrize("delay_s", NOT_SECONDS)
def test_a_requeue_with_no_possible_delay_is_refused(delay_s: Any) -> None:
    with pytest.raises(ValueError, match=r"^Requeue\(delay_s=.+\): give seconds, 0 or more$"):
        Requeue(delay_s)


@pytest.mark.parametrize("for_s", [1, 0.001, 86400.0])
def test_a_pause_has_its_seconds(for_s: float) -> None:
    assert Pause(for_s).for_s == for_s


@pytest.mark.parametrize(
    "for_s", [*NOT_SECONDS, pytest.param(0, id="no time"), pytest.param(None, id="nothing")]
)
def test_a_pause_with_no_possible_length_is_refused(for_s: Any) -> None:
    with pytest.raises(ValueError, match=r"^Pause\(for_s=.+\): give seconds above 0$"):
        Pause(for_s)


def test_outcomes_without_arguments_say_all_that_is_needed() -> None:
    assert Requeue().delay_s is None
    assert DeadLetter().detail == ""
    assert Discard().detail == ""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(Finish(), Finish(), id="finish"),
        pytest.param(Requeue(5), Requeue(5.0), id="requeue"),
        pytest.param(DeadLetter("why"), DeadLetter("why"), id="dead letter"),
        pytest.param(Discard("why"), Discard("why"), id="discard"),
        pytest.param(Pause(1), Pause(1), id="pause"),
    ],
)
def test_outcomes_are_values(one: object, other: object) -> None:
    assert one == other
    assert hash(one) == hash(other)


def test_what_is_kept_and_what_is_dropped_are_not_the_same() -> None:
    assert len({DeadLetter("why"), Discard("why")}) == 2
