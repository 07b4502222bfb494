"""Outages: how a handler rests while a dependency is away, and what that costs its messages: no attempt."""

from nsqkit.policy.verdict import OutcomeLabel, RequeueReason, Verdict

MAX_REST_S = 300.0
"""Upper limit of a rest that grows, in seconds; a longer one that was asked for stays as it is."""
TRIALS_EACH = 3
"""When every waiting message has failed this many trials, one more is taken in, to be tried too."""
_MOST_DOUBLINGS = 16
_UNCOUNTED = frozenset(
    {
        RequeueReason.BREAKER_OPEN,
        RequeueReason.KILL_SWITCH,
        RequeueReason.PAUSED,
        RequeueReason.RATE_LIMITED,
        RequeueReason.DEAD_LETTER_FAILED,
        RequeueReason.SHUTDOWN,
    }
)


def rest_s(asked_s: float, failed_trials: int) -> float:
    """Return for how long a handler rests: from the second failed trial on twice as long each time.

    Args:
        asked_s: Seconds that the breaker stays open, or that the handler asked for; above 0.
        failed_trials: Trials that have failed since the outage began; 0 or more.
    """
    grown_s: float = asked_s * 2 ** min(max(failed_trials - 1, 0), _MOST_DOUBLINGS)
    return max(asked_s, min(grown_s, MAX_REST_S))


def is_attempt(verdict: Verdict) -> bool:
    """Return whether a requeued delivery uses up one of ``max_attempts``.

    It does not if the message was given back for a reason that has nothing to do with the message.
    """
    return verdict.label is not OutcomeLabel.REQUEUE or verdict.reason not in _UNCOUNTED
