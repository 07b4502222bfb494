"""Retention: an inbox remembers an event for longer than all retries and a replay take."""

import pytest

from nsqkit.policy.outcome import Requeue
from nsqkit.policy.retention import REPLAY_S, least_retention_s
from nsqkit.policy.retry import Exponential, RetryPolicy


@pytest.mark.parametrize(
    ("retry", "holds_s", "expected_s"),
    [
        pytest.param(RetryPolicy(max_attempts=1), 30, 30, id="one attempt has no delay"),
        pytest.param(
            RetryPolicy(max_attempts=3, backoff=Exponential(base_s=8, factor=2, max_s=100)), 30, 150,
            id="each attempt may have the longest delay of the schedule, with its jitter",
        ),
        pytest.param(
            RetryPolicy(max_attempts=2, on={KeyError: Requeue(800)}), 0, 2000,
            id="a rule may have the longest delay",
        ),
    ],
)  # fmt: skip
def test_the_least_retention(retry: RetryPolicy, holds_s: float, expected_s: float) -> None:
    assert least_retention_s(retry, holds_s=holds_s) == expected_s + REPLAY_S
