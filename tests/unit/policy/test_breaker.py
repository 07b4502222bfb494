"""Breakers: consecutive failures open them, time half-opens them, one success closes them."""

import math
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from nsqkit.policy.breaker import BreakerPolicy, BreakerState, Circuit

OPEN, CLOSED, HALF_OPEN = BreakerState.OPEN, BreakerState.CLOSED, BreakerState.HALF_OPEN


def fail(circuit: Circuit, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        circuit.failed(admitted(circuit, now_s), now_s=now_s)


def admitted(circuit: Circuit, now_s: float) -> int:
    ticket = circuit.admit(now_s=now_s)
    assert ticket is not None
    return ticket


def opened(policy: BreakerPolicy) -> Circuit:
    circuit = Circuit(policy)
    fail(circuit, 0.0, policy.failures)
    return circuit


def test_so_many_failures_one_after_the_other_open_it() -> None:
    circuit = Circuit(BreakerPolicy(failures=3))
    fail(circuit, 0.0, 2)
    assert circuit.state(now_s=0) is CLOSED
    fail(circuit, 0.0)
    assert circuit.state(now_s=0) is OPEN


def test_a_success_in_between_starts_the_count_again() -> None:
    circuit = Circuit(BreakerPolicy(failures=3))
    fail(circuit, 0.0, 2)
    circuit.succeeded(admitted(circuit, 0.0), now_s=0.0)
    fail(circuit, 0.0, 2)
    assert circuit.state(now_s=0) is CLOSED


def test_a_call_that_tells_nothing_does_not_start_the_count_again() -> None:
    circuit = Circuit(BreakerPolicy(failures=2))
    fail(circuit, 0.0)
    circuit.abandoned(admitted(circuit, 0.0))
    fail(circuit, 0.0)
    assert circuit.state(now_s=0) is OPEN


@pytest.mark.parametrize(
    ("now_s", "state", "remaining_s"),
    [
        pytest.param(0.0, OPEN, 30.0, id="open at once"),
        pytest.param(29.5, OPEN, 0.5, id="still open"),
        pytest.param(30.0, HALF_OPEN, 0.0, id="half-open once its time is over"),
        pytest.param(99.0, HALF_OPEN, 0.0, id="and later"),
    ],
)
def test_it_is_open_for_so_long(now_s: float, state: BreakerState, remaining_s: float) -> None:
    circuit = opened(BreakerPolicy(open_s=30))
    assert circuit.state(now_s=now_s) is state
    assert circuit.remaining_s(now_s=now_s) == remaining_s
    assert (circuit.admit(now_s=now_s) is None) is (state is OPEN)


def test_closed_nothing_remains() -> None:
    assert Circuit(BreakerPolicy()).remaining_s(now_s=5) == 0


def test_a_call_that_began_before_it_opened_changes_nothing() -> None:
    circuit = Circuit(BreakerPolicy(failures=1, open_s=30))
    early, other = admitted(circuit, 0.0), admitted(circuit, 0.0)
    fail(circuit, 10.0)
    circuit.succeeded(early, now_s=20.0)
    circuit.failed(other, now_s=25.0)
    assert circuit.remaining_s(now_s=30.0) == 10
    trial = admitted(circuit, 40.0)
    circuit.abandoned(early)
    assert circuit.admit(now_s=40.0) is None
    circuit.failed(early, now_s=41.0)
    circuit.succeeded(other, now_s=41.0)
    assert circuit.state(now_s=41.0) is HALF_OPEN
    circuit.succeeded(trial, now_s=42.0)
    assert circuit.state(now_s=42.0) is CLOSED


def test_half_open_lets_so_many_through_at_a_time() -> None:
    """Who comes then is told to come back after a tenth of the time for which it was open."""
    circuit = opened(BreakerPolicy(open_s=30, trials=2))
    for _ in range(2):
        admitted(circuit, 30.0)
    assert circuit.admit(now_s=31.0) is None
    assert circuit.remaining_s(now_s=31.0) == 3


@pytest.mark.parametrize("trials", [1, 2])
def test_a_trial_that_tells_nothing_makes_room_for_another(trials: int) -> None:
    circuit = opened(BreakerPolicy(open_s=30, trials=trials))
    tickets = [admitted(circuit, 30.0) for _ in range(trials)]
    for ticket in tickets:
        assert circuit.admit(now_s=31.0) is None
        circuit.abandoned(ticket)
        admitted(circuit, 31.0)
    assert circuit.admit(now_s=31.0) is None


def test_late_trials_that_tell_nothing_make_no_more_room_than_there_is() -> None:
    circuit = opened(BreakerPolicy(open_s=30, trials=2))
    late = [admitted(circuit, 30.0), admitted(circuit, 30.0)]
    admitted(circuit, 60.0)
    for ticket in late:
        circuit.abandoned(ticket)
    assert [circuit.admit(now_s=60.0) is None for _ in range(3)] == [False, False, True]


def test_one_successful_trial_closes_it_and_the_other_cannot_open_it() -> None:
    circuit = opened(BreakerPolicy(failures=1, trials=2))
    first, second = admitted(circuit, 30.0), admitted(circuit, 30.0)
    circuit.succeeded(first, now_s=31.0)
    circuit.failed(second, now_s=32.0)
    assert circuit.state(now_s=32.0) is CLOSED


def test_only_a_failure_of_a_closed_breaker_comes_as_a_surprise() -> None:
    """All others are failures of an outage that is known."""
    circuit = Circuit(BreakerPolicy(failures=2, open_s=30))
    early = admitted(circuit, 0.0)
    assert [circuit.failed(admitted(circuit, 0.0), now_s=0.0) for _ in range(2)] == [True, True]
    assert not circuit.failed(early, now_s=1.0)
    assert not circuit.failed(admitted(circuit, 30.0), now_s=31.0)


def test_one_failed_trial_opens_it_again_and_the_other_cannot_close_it() -> None:
    circuit = opened(BreakerPolicy(failures=5, open_s=30, trials=2))
    first, second = admitted(circuit, 30.0), admitted(circuit, 30.0)
    circuit.failed(first, now_s=31.0)
    circuit.succeeded(second, now_s=32.0)
    assert circuit.state(now_s=32.0) is OPEN
    assert circuit.remaining_s(now_s=32.0) == 29


def test_a_trial_that_never_comes_back_makes_room_for_another() -> None:
    circuit = opened(BreakerPolicy(open_s=30))
    lost = admitted(circuit, 30.0)
    assert circuit.admit(now_s=59.9) is None
    admitted(circuit, 60.0)
    assert circuit.admit(now_s=89.9) is None
    circuit.succeeded(lost, now_s=89.9)
    assert circuit.state(now_s=89.9) is CLOSED


def test_once_closed_it_counts_from_nothing() -> None:
    circuit = opened(BreakerPolicy(failures=3, open_s=30))
    circuit.succeeded(admitted(circuit, 30.0), now_s=30.0)
    fail(circuit, 30.0, 2)
    assert circuit.state(now_s=30.0) is CLOSED
    fail(circuit, 30.0)
    assert circuit.remaining_s(now_s=30.0) == 30


def test_the_states_are_the_labels_of_the_metric() -> None:
    assert [*BreakerState] == ["closed", "open", "half_open"]


def test_the_standard_policy() -> None:
    assert BreakerPolicy() == BreakerPolicy(failures=5, open_s=30.0, trials=1)


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        pytest.param({"failures": 0}, ValueError, "Breaker(failures=0): not in 1..1000000", id="no failure"),
        pytest.param(
            {"failures": 1.5}, TypeError, "Breaker(failures=1.5): give a whole number", id="half of one"
        ),
        pytest.param({"open_s": 0}, ValueError, "Breaker(open_s=0): must be above 0", id="never open"),
        pytest.param(
            {"open_s": math.inf}, ValueError, "Breaker(open_s=inf): must be 3600 or less", id="open for ever"
        ),
        pytest.param({"open_s": "1"}, TypeError, "Breaker(open_s='1'): give a number", id="a text"),
        pytest.param({"trials": 0}, ValueError, "Breaker(trials=0): not in 1..1000000", id="never tried"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    values: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        BreakerPolicy(**values)
    assert str(caught.value) == problem


class Calls(RuleBasedStateMachine):
    """Calls that come and end in any order."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.policy = BreakerPolicy(failures=2, open_s=10, trials=2)
        self.circuit = Circuit(self.policy)
        self.now_s = 0.0

    @rule(seconds=st.integers(0, 768).map(lambda n: n / 64))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(target=tickets)
    def call(self) -> int:
        before = self.circuit.state(now_s=self.now_s)
        ticket = self.circuit.admit(now_s=self.now_s)
        assert (ticket is not None) or before is not CLOSED
        assert (ticket is None) or before is not OPEN
        if ticket is None:
            assert 0 < self.circuit.remaining_s(now_s=self.now_s) <= self.policy.open_s
            return -1
        return ticket

    @rule(ticket=tickets, end=st.sampled_from(["succeeded", "failed", "abandoned"]))
    def end(self, ticket: int, end: str) -> None:
        before = self.circuit.state(now_s=self.now_s)
        if end == "abandoned":
            self.circuit.abandoned(ticket)
        else:
            getattr(self.circuit, end)(ticket, now_s=self.now_s)
        after = self.circuit.state(now_s=self.now_s)
        allowed = {"succeeded": {before, CLOSED}, "failed": {before, OPEN}, "abandoned": {before}}
        assert after in allowed[end]
        if before is OPEN:
            assert after is OPEN

    @invariant()
    def it_is_never_shut_for_good(self) -> None:
        later_s = self.now_s + 2 * self.policy.open_s
        assert self.circuit.state(now_s=later_s) is not OPEN


TestCalls = Calls.TestCase
