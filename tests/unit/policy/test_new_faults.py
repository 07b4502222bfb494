"""Each fault is named once while it lasts, and changing ones cost a few lines a minute."""

import pytest

from nsqkit.policy.new_faults import NewFaults


@pytest.mark.parametrize(
    ("polls", "said"),
    [
        pytest.param([["a", "b"], ["b", "a"]], ["a; b", ""], id="those that last"),
        pytest.param([["a"], ["a", "b"]], ["a", "b"], id="one in addition"),
        pytest.param([["a"], [], ["a"]], ["a", "", "a"], id="one that comes again"),
        pytest.param([["a", "b"], ["b"]], ["a; b", ""], id="one that is over"),
        pytest.param([[*"abcde"]], ["a; b; c; d; e"], id="as many as are named"),
        pytest.param([[*"gfedcba"]], ["a; b; c; d; e; and 2 more"], id="more"),
        pytest.param([[]], [""], id="none"),
    ],
)
def test_new_faults_are_named(polls: list[list[str]], said: list[str]) -> None:
    faults = NewFaults()
    assert [faults.take(poll, now_s=0.0) for poll in polls] == said


def test_changing_faults_have_three_lines_a_minute_and_are_counted_then() -> None:
    faults = NewFaults()
    lines = [faults.take([f"at {second}"], now_s=float(second)) for second in range(121)]
    named = {second: line for second, line in enumerate(lines) if line}
    assert named == {
        0: "at 0",
        1: "at 1",
        2: "at 2",
        60: "at 60; and 57 more",
        61: "at 61",
        62: "at 62",
        120: "at 120; and 57 more",
    }


def test_a_fault_that_lasts_is_named_when_others_have_used_up_the_lines() -> None:
    faults = NewFaults()
    for _ in range(3):
        assert faults.take(["a"], now_s=0.0)
        faults.take([], now_s=0.0)
    assert faults.take(["b"], now_s=1.0) == ""
    assert faults.take(["b"], now_s=60.0) == "b; and 1 more"
    assert faults.take(["b"], now_s=120.0) == ""
