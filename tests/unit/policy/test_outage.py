"""Outages: rests that grow, and deliveries that are no attempts."""

import pytest

from nsqkit.policy.outage import MAX_REST_S, is_attempt, rest_s
from nsqkit.policy.verdict import (
    LEASE_LOST,
    SHUTDOWN,
    SUCCESS,
    DeadLetterReason,
    OutcomeLabel,
    RequeueReason,
    Verdict,
)


@pytest.mark.parametrize(
    ("asked_s", "failed_trials", "expected_s"),
    [
        pytest.param(30.0, 0, 30.0, id="at first it is what was asked for"),
        pytest.param(30.0, 1, 30.0, id="after the first failed trial too"),
        pytest.param(30.0, 2, 60.0, id="then it doubles"),
        pytest.param(30.0, 4, 240.0, id="each time"),
        pytest.param(30.0, 5, MAX_REST_S, id="up to the limit"),
        pytest.param(30.0, 100_000, MAX_REST_S, id="and stays there"),
        pytest.param(900.0, 0, 900.0, id="a longer one was asked for"),
        pytest.param(900.0, 9, 900.0, id="and does not grow"),
    ],
)
def test_a_rest_grows_with_the_failed_trials(asked_s: float, failed_trials: int, expected_s: float) -> None:
    assert rest_s(asked_s, failed_trials) == expected_s


COUNTED = {
    RequeueReason.ERROR: True,
    RequeueReason.TIMEOUT: True,
    RequeueReason.REQUESTED: True,
    RequeueReason.SCHEDULED: True,
    RequeueReason.UNKNOWN_TYPE: True,
    RequeueReason.BREAKER_OPEN: False,
    RequeueReason.KILL_SWITCH: False,
    RequeueReason.PAUSED: False,
    RequeueReason.RATE_LIMITED: False,
    RequeueReason.DEAD_LETTER_FAILED: False,
    RequeueReason.SHUTDOWN: False,
}


@pytest.mark.parametrize("reason", RequeueReason)
def test_a_requeue_is_an_attempt_if_the_handler_failed_or_asked_for_it(reason: RequeueReason) -> None:
    assert is_attempt(Verdict(OutcomeLabel.REQUEUE, reason)) is COUNTED[reason]


@pytest.mark.parametrize(
    "verdict",
    [SUCCESS, LEASE_LOST, Verdict(OutcomeLabel.DEAD_LETTER, DeadLetterReason.EXHAUSTED)],
    ids=lambda verdict: str(verdict.label),
)
def test_every_other_outcome_is_one(verdict: Verdict) -> None:
    assert is_attempt(verdict)
    assert not is_attempt(SHUTDOWN)
