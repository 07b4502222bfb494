"""Kill switches: when they open, what half-open lets through, and which policies cannot be made."""

import math
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import HandlerTimeoutError
from nsqkit.policy.kill_switch import SLICES, KillSwitch, Switch, SwitchState

OPEN, CLOSED, HALF_OPEN = SwitchState.OPEN, SwitchState.CLOSED, SwitchState.HALF_OPEN


def told(switch: Switch, text: str, now_s: float = 0.0) -> list[SwitchState | None]:
    """Record an ``x`` as a failure and a ``.`` as a success, and return the answers."""
    return [switch.record(each == "x", now_s=now_s) for each in text]


def opened(policy: KillSwitch) -> Switch:
    switch = Switch(policy)
    told(switch, "x" * policy.min_messages)
    assert switch.state is OPEN
    return switch


@pytest.mark.parametrize(
    ("policy", "ended", "expected"),
    [
        pytest.param(KillSwitch(min_messages=4), "xxx", CLOSED, id="too few to say anything"),
        pytest.param(KillSwitch(min_messages=4), "xxxx", OPEN, id="enough of them, all failed"),
        pytest.param(KillSwitch(min_messages=4), "x.x.", OPEN, id="the ratio itself is enough"),
        pytest.param(KillSwitch(min_messages=4), "x..x", OPEN, id="whatever their order"),
        pytest.param(KillSwitch(min_messages=4), "..x.", CLOSED, id="less than the ratio"),
        pytest.param(KillSwitch(0.1, 30), "xxx" + 27 * ".", OPEN, id="a tenth is not lost to rounding"),
        pytest.param(KillSwitch(0.1, 30), "xx" + 28 * ".", CLOSED, id="less than a tenth"),
        pytest.param(KillSwitch(1.0, 2), "x.xxxxxx", CLOSED, id="all must fail and one did not"),
        pytest.param(KillSwitch(1e-9, 1), ".", CLOSED, id="successes alone never open it"),
        pytest.param(KillSwitch(1e-9, 1), "x", OPEN, id="one failure may be enough"),
    ],
)
def test_it_opens_where_enough_calls_ended_and_their_share_failed(
    policy: KillSwitch, ended: str, expected: SwitchState
) -> None:
    switch = Switch(policy)
    told(switch, ended)
    assert switch.state is expected


def test_it_begins_closed() -> None:
    switch = Switch(KillSwitch(open_s=45))
    assert (switch.state, switch.open_for_s, switch.trials_left) == (CLOSED, 45, 0)


def test_a_change_is_told_once() -> None:
    switch = Switch(KillSwitch(min_messages=3))
    assert told(switch, "xxxxx") == [None, None, OPEN, None, None]


@pytest.mark.parametrize(
    ("start_s", "after_s", "expected"),
    [
        pytest.param(1000, 15 / 16 * 60 - 0.01, OPEN, id="fifteen sixteenths of the window are whole"),
        pytest.param(1003.9, 15 / 16 * 60 - 0.01, OPEN, id="wherever they begin"),
        pytest.param(1000, 60, CLOSED, id="after the window nothing counts"),
        pytest.param(1000, 3600, CLOSED, id="nor long after"),
        pytest.param(-3, 60, CLOSED, id="nor where a clock passes its zero"),
    ],
)
def test_only_the_last_seconds_count(start_s: float, after_s: float, expected: SwitchState) -> None:
    switch = Switch(KillSwitch(min_messages=4, window_s=60))
    told(switch, "xxx", now_s=start_s)
    told(switch, "x", now_s=start_s + after_s)
    assert switch.state is expected


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        pytest.param([(0, "." * 5), (61, "..xxx")], OPEN, id="successes leave it"),
        pytest.param([(0, "xx.."), (61, "....x")], CLOSED, id="all of its failures leave it"),
        pytest.param([(0, "x."), (30, "xx"), (61, "x..")], OPEN, id="none but its own leave it"),
    ],
)
def test_what_leaves_the_window_takes_its_outcomes_along(
    ended: list[tuple[float, str]], expected: SwitchState
) -> None:
    switch = Switch(KillSwitch(min_messages=5, window_s=60))
    for now_s, text in ended:
        assert switch.state is CLOSED
        told(switch, text, now_s)
    assert switch.state is expected


def test_a_call_that_ended_earlier_than_the_last_one_counts_with_it() -> None:
    switch = Switch(KillSwitch(min_messages=2, window_s=16))
    told(switch, "x", now_s=100)
    assert told(switch, "x", now_s=90) == [OPEN]


def test_while_it_is_open_nothing_counts() -> None:
    switch = opened(KillSwitch(min_messages=2))
    assert told(switch, "..xx..") == [None] * 6
    assert (switch.state, switch.trials_left) == (OPEN, 0)


def test_one_success_in_half_open_closes_it() -> None:
    switch = opened(KillSwitch(min_messages=2))
    switch.half_open()
    assert (switch.state, switch.trials_left) == (HALF_OPEN, 1)
    assert told(switch, ".") == [CLOSED]
    assert (switch.state, switch.trials_left) == (CLOSED, 0)


def test_as_many_successes_as_trials_close_it() -> None:
    switch = opened(KillSwitch(min_messages=2, trials=3))
    switch.half_open()
    assert [(told(switch, "."), switch.trials_left) for _ in range(3)] == [
        ([None], 2),
        ([None], 1),
        ([CLOSED], 0),
    ]


def test_once_it_is_closed_what_was_before_is_forgotten() -> None:
    switch = opened(KillSwitch(min_messages=3))
    switch.half_open()
    told(switch, ".")
    assert told(switch, "xxx") == [None, None, OPEN]


def test_a_failed_trial_opens_it_again_for_twice_as_long_up_to_the_longest() -> None:
    switch = opened(KillSwitch(min_messages=2, open_s=30, max_open_s=100, trials=2))
    lasted = [switch.open_for_s]
    for _ in range(4):
        switch.half_open()
        assert told(switch, ".x") == [None, OPEN]
        assert switch.trials_left == 0
        lasted.append(switch.open_for_s)
    assert lasted == [30, 60, 100, 100, 100]


def test_closing_it_makes_the_next_opening_a_short_one() -> None:
    switch = opened(KillSwitch(min_messages=2, open_s=30))
    switch.half_open()
    told(switch, "x")
    switch.half_open()
    told(switch, ".")
    assert switch.open_for_s == 30
    told(switch, "xx")
    assert (switch.state, switch.open_for_s) == (OPEN, 30)


@pytest.mark.parametrize("trials", [0, 1])
def test_half_open_changes_only_what_is_open(trials: int) -> None:
    switch = Switch(KillSwitch(min_messages=2, trials=3))
    if trials:
        told(switch, "xx")
        switch.half_open()
        told(switch, ".")
    before = (switch.state, switch.trials_left)
    switch.half_open()
    assert (switch.state, switch.trials_left) == before


@given(
    st.lists(st.tuples(st.floats(0, 40), st.booleans()), max_size=300),
    st.integers(1, 12),
    st.floats(0.05, 1.0),
)
def test_it_opens_no_later_and_no_earlier_than_its_slices_allow(
    calls: list[tuple[float, bool]], min_messages: int, failure_ratio: float
) -> None:
    """A window that is exact agrees wherever nothing lies in the slice that may or may not count."""
    window_s = 64.0
    switch = Switch(KillSwitch(failure_ratio, min_messages, window_s))
    exact: deque[tuple[float, bool]] = deque()
    now_s = 0.0
    for pause_s, failed in calls:
        now_s += pause_s
        exact.append((now_s, failed))
        answer = switch.record(failed, now_s=now_s)
        newest = now_s // (window_s / SLICES)
        counted = [bad for at_s, bad in exact if at_s // (window_s / SLICES) > newest - SLICES]
        should = len(counted) >= min_messages and sum(counted) / len(counted) >= failure_ratio
        assert answer is (OPEN if should else None)
        assert all(now_s - at_s <= window_s for at_s, _ in list(exact)[-len(counted) :])
        if should:
            return


def test_it_remembers_a_bounded_number_of_counts_however_many_calls_end() -> None:
    switch = Switch(KillSwitch(1.0, 1_000_000, window_s=16))
    for call in range(1000):
        switch.record(failed=True, now_s=500 + call / 10 - call % 3)
        assert len(switch._window._slices) <= SLICES


class SkuError(Exception):
    pass


class OldSkuError(SkuError):
    pass


@pytest.mark.parametrize(
    ("policy", "error", "expected"),
    [
        pytest.param(KillSwitch(), None, False, id="a call that returned is no failure"),
        pytest.param(KillSwitch(), ValueError(), True, id="any exception is one"),
        pytest.param(KillSwitch(), HandlerTimeoutError(30), True, id="a timeout too"),
        pytest.param(KillSwitch(), KeyboardInterrupt(), False, id="what stops the process is none"),
        pytest.param(KillSwitch(exclude=(SkuError,)), SkuError(), False, id="what is excluded is none"),
        pytest.param(KillSwitch(exclude=(SkuError,)), OldSkuError(), False, id="nor what derives from it"),
        pytest.param(KillSwitch(exclude=(OldSkuError,)), SkuError(), True, id="but what it derives from"),
        pytest.param(KillSwitch(include=(OSError,)), ValueError(), False, id="only what is included"),
        pytest.param(KillSwitch(include=(OSError,)), ConnectionError(), True, id="or derives from it"),
        pytest.param(KillSwitch(include=()), ValueError(), False, id="nothing included blames nothing"),
        pytest.param(
            KillSwitch(exclude=(SkuError,)), ExceptionGroup("g", [SkuError()]), False, id="nor a group of it"
        ),
        pytest.param(
            KillSwitch(exclude=(SkuError,)),
            ExceptionGroup("g", [SkuError(), ValueError()]),
            True,
            id="but a group with anything else",
        ),
    ],
)
def test_only_what_is_included_and_not_excluded_is_blamed(
    policy: KillSwitch, error: BaseException | None, *, expected: bool
) -> None:
    assert policy.blames(error) is expected


def test_the_states_are_the_labels_of_the_metric() -> None:
    assert [*SwitchState] == ["closed", "open", "half_open"]


def test_the_standard_policy() -> None:
    assert KillSwitch() == KillSwitch(
        failure_ratio=0.5,
        min_messages=20,
        window_s=60.0,
        open_s=30.0,
        max_open_s=900.0,
        trials=1,
        include=(Exception,),
        exclude=(),
    )


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        pytest.param(
            {"failure_ratio": 0}, ValueError, "KillSwitch(failure_ratio=0): must be above 0", id="no ratio"
        ),
        pytest.param(
            {"failure_ratio": 1.01},
            ValueError,
            "KillSwitch(failure_ratio=1.01): must be 1 or less",
            id="more than all",
        ),
        pytest.param(
            {"failure_ratio": math.nan},
            ValueError,
            "KillSwitch(failure_ratio=nan): must be above 0",
            id="a ratio of nan",
        ),
        pytest.param(
            {"min_messages": 0}, ValueError, "KillSwitch(min_messages=0): not in 1..1000000", id="no messages"
        ),
        pytest.param(
            {"min_messages": 2.5},
            TypeError,
            "KillSwitch(min_messages=2.5): give a whole number",
            id="half a message",
        ),
        pytest.param({"window_s": 0}, ValueError, "KillSwitch(window_s=0): must be above 0", id="no window"),
        pytest.param(
            {"window_s": 86401},
            ValueError,
            "KillSwitch(window_s=86401): must be 86400 or less",
            id="more than a day",
        ),
        pytest.param({"open_s": 0}, ValueError, "KillSwitch(open_s=0): must be above 0", id="never open"),
        pytest.param(
            {"open_s": 86401, "max_open_s": 86401},
            ValueError,
            "KillSwitch(open_s=86401): must be 86400 or less",
            id="open for more than a day",
        ),
        pytest.param(
            {"open_s": 60, "max_open_s": 30},
            ValueError,
            "KillSwitch(max_open_s=30): must be 60 or more",
            id="a cap below its start",
        ),
        pytest.param(
            {"max_open_s": math.inf},
            ValueError,
            "KillSwitch(max_open_s=inf): must be 86400 or less",
            id="doubling for ever",
        ),
        pytest.param({"trials": 0}, ValueError, "KillSwitch(trials=0): not in 1..1000000", id="no trials"),
        pytest.param(
            {"include": OSError},
            TypeError,
            "KillSwitch(include=<class 'OSError'>): give a tuple of exception types, (SomeError,)",
            id="one type without a tuple",
        ),
        pytest.param(
            {"exclude": ("OSError",)},
            TypeError,
            "KillSwitch(exclude=…): 'OSError' is not an exception class",
            id="a type by its name",
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    values: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        KillSwitch(**values)
    assert str(caught.value) == problem
