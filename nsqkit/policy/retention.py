"""Retention: how long an inbox has to remember an event so that no late delivery is handled again."""

from nsqkit.policy.retry import ADDITIVE_SHARE, RetryPolicy

REPLAY_S = 86_400.0
"""Time that people have for the replay of a dead letter, in seconds: a day."""


def least_retention_s(retry: RetryPolicy, *, holds_s: float) -> float:
    """Return the least time for which an event is to be remembered, in seconds.

    An event is delivered again after a retry of this handler, and when somebody replays it. Deliveries that
    an outage has postponed are not in it: they use up no attempt, and may last longer.

    Args:
        retry: Retry policy of the handler.
        holds_s: Longest time that one delivery is in flight, in seconds.
    """
    delay_s = retry.longest_s() * (1.0 + ADDITIVE_SHARE)
    return retry.max_attempts * (delay_s + holds_s) + REPLAY_S
