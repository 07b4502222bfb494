"""Verdicts: how one delivery ends, decided from what happened to it (DESIGN section 2).

``Outcome`` is what a handler says; a ``Verdict`` is what is done about it, with the label and the
reason that the metrics and the log show.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from nsqkit.errors import BreakerOpenError, HandlerTimeoutError
from nsqkit.policy.outcome import DeadLetter, Discard, Duplicate, Finish, Outcome, Pause, Requeue
from nsqkit.policy.retry import RetryPolicy

UNKNOWN_DELAY_S = 30.0
CRASH_SLACK = 10


class OutcomeLabel(StrEnum):
    """The outcome of a delivery, as metrics and the log label it."""

    SUCCESS = "success"
    REQUEUE = "requeue"
    DEAD_LETTER = "dead_letter"
    DISCARD = "discard"
    DUPLICATE = "duplicate"
    LEASE_LOST = "lease_lost"


class RequeueReason(StrEnum):
    """Why a message was requeued."""

    ERROR = "error"
    TIMEOUT = "timeout"
    REQUESTED = "requested"
    UNKNOWN_TYPE = "unknown_type"
    BREAKER_OPEN = "breaker_open"
    KILL_SWITCH = "kill_switch"
    PAUSED = "paused"
    RATE_LIMITED = "rate_limited"
    DEAD_LETTER_FAILED = "dead_letter_failed"
    SHUTDOWN = "shutdown"


class DeadLetterReason(StrEnum):
    """Why a message became a dead letter."""

    EXHAUSTED = "exhausted"
    RULE = "rule"
    REQUESTED = "requested"
    UNDECODABLE = "undecodable"
    UNKNOWN_TYPE = "unknown_type"
    EXPIRED = "expired"
    CRASH_SUSPECT = "crash_suspect"


OnUnknown = Literal["requeue", "discard", "dead_letter"]
OnExpired = Literal["discard", "dead_letter"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a handler's declaration says about the end of its deliveries.

    Args:
        retry: Attempts, backoff and what errors mean.
        on_unknown: What to do with event types that the handler does not take.
        max_age_s: Seconds since publishing after which a message is too old; None for never.
        on_expired: What to do then.
        keeps_dead_letters: False turns every dead letter into a discard.
        max_delay_s: Longest delay that is sent to nsqd.
    """

    retry: RetryPolicy
    on_unknown: OnUnknown = "requeue"
    max_age_s: float | None = None
    on_expired: OnExpired = "dead_letter"
    keeps_dead_letters: bool = True
    max_delay_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one delivery ends.

    Args:
        label: The outcome it is counted under.
        reason: Of a requeue or a dead letter; empty for the others.
        delay_s: Of a requeue, seconds, 0 or more.
        detail: One line for the log and the dead letter.
        pause_s: Seconds for which the handler's intake pauses; 0 for not at all.
        clamped: Whether the delay that was asked for was longer.
    """

    label: OutcomeLabel
    reason: RequeueReason | DeadLetterReason | Literal[""] = ""
    delay_s: float = 0.0
    detail: str = ""
    pause_s: float = 0.0
    clamped: bool = False


SUCCESS = Verdict(OutcomeLabel.SUCCESS)
LEASE_LOST = Verdict(OutcomeLabel.LEASE_LOST)
SHUTDOWN = Verdict(OutcomeLabel.REQUEUE, RequeueReason.SHUTDOWN)


def on_arrival(rules: Rules, *, attempts: int, age_s: float) -> Verdict | None:
    """Return the verdict on a message that need not be decoded, or None to go on.

    Args:
        rules: The handler's.
        attempts: Deliveries so far, this one included.
        age_s: Seconds since it was published.
    """
    limit = rules.retry.max_attempts + CRASH_SLACK
    if attempts > limit:
        lost = f"more than {CRASH_SLACK} deliveries left no outcome; does it end its process?"
        detail = f"delivery {attempts} of at most {rules.retry.max_attempts}: {lost}"
        return _dead(rules, DeadLetterReason.CRASH_SUSPECT, detail)
    if rules.max_age_s is not None and age_s > rules.max_age_s:
        detail = f"{age_s:.1f} s old; max_age_s={rules.max_age_s:g}"
        if rules.on_expired == "discard":
            return Verdict(OutcomeLabel.DISCARD, detail=detail)
        return _dead(rules, DeadLetterReason.EXPIRED, detail)
    return None


def on_undecodable(rules: Rules, detail: str) -> Verdict:
    """Return the verdict on a body that is not a valid event."""
    return _dead(rules, DeadLetterReason.UNDECODABLE, detail)


def on_unknown_type(rules: Rules, detail: str, *, attempts: int) -> Verdict:
    """Return the verdict on an event of a type or version that the handler does not take."""
    match rules.on_unknown:
        case "discard":
            return Verdict(OutcomeLabel.DISCARD, detail=detail)
        case "requeue" if attempts < rules.retry.max_attempts:
            delay_s = min(UNKNOWN_DELAY_S, rules.max_delay_s)
            return Verdict(OutcomeLabel.REQUEUE, RequeueReason.UNKNOWN_TYPE, delay_s, detail)
        case _:
            return _dead(rules, DeadLetterReason.UNKNOWN_TYPE, detail)


def on_outcome(rules: Rules, outcome: Outcome | Duplicate, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on an outcome that the handler, or an extension in its place, returned.

    Args:
        rules: The handler's.
        outcome: What it returned.
        attempts: Deliveries so far, this one included; 1 or more.
        draw: A uniform number in [0, 1).
    """
    match outcome:
        case Finish():
            return SUCCESS
        case Duplicate():
            return on_duplicate()
        case Discard(detail=detail):
            return Verdict(OutcomeLabel.DISCARD, detail=detail)
        case DeadLetter(detail=detail):
            return _dead(rules, DeadLetterReason.REQUESTED, detail)
        case Requeue(delay_s=delay_s):
            return _again(rules, RequeueReason.REQUESTED, delay_s, "", attempts=attempts, draw=draw)
        case Pause(for_s=for_s):  # pragma: no branch - mypy proves that there is no other
            return _again(rules, RequeueReason.PAUSED, for_s, "", attempts=attempts, draw=draw, pause_s=for_s)


def on_error(rules: Rules, error: Exception, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on an exception that the handler raised, a timeout included.

    Args:
        rules: The handler's; its first matching ``on`` rule wins.
        error: What was raised.
        detail: One line about it, redacted.
        attempts: Deliveries so far, this one included; 1 or more.
        draw: A uniform number in [0, 1).
    """
    match rules.retry.outcome_for(error):
        case Finish():
            return Verdict(OutcomeLabel.SUCCESS, detail=detail)
        case Discard(detail=why):
            return Verdict(OutcomeLabel.DISCARD, detail=why or detail)
        case DeadLetter(detail=why):
            return _dead(rules, DeadLetterReason.RULE, why or detail)
        case Pause(for_s=for_s):
            return _again(
                rules, RequeueReason.PAUSED, for_s, detail, attempts=attempts, draw=draw, pause_s=for_s
            )
        case Requeue(delay_s=delay_s):
            return _again(rules, _blame(error), delay_s, detail, attempts=attempts, draw=draw)
        case None:  # pragma: no branch - mypy proves that there is no other
            return _unruled(rules, error, detail, attempts=attempts, draw=draw)


def on_duplicate() -> Verdict:
    """Return the verdict on a delivery of a message that an earlier one has done with meanwhile."""
    return Verdict(OutcomeLabel.DUPLICATE)


def on_not_started(rules: Rules, reason: RequeueReason, *, for_s: float) -> Verdict:
    """Return the verdict on a delivery that was not started while it could be held.

    Args:
        rules: The handler's.
        reason: What kept it from starting.
        for_s: How long that lasts on, in seconds; infinite where nobody knows.
    """
    return Verdict(OutcomeLabel.REQUEUE, reason, min(max(for_s, 0.0), rules.max_delay_s))


def on_publish_failure(rules: Rules, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on a success whose events nsqd did not confirm.

    No ``on`` rule is asked: those are for what a handler raises, and one that finishes would lose the event.
    """
    return _again(rules, RequeueReason.ERROR, None, detail, attempts=attempts, draw=draw)


def on_dead_letter_failure(rules: Rules, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on a dead letter that nsqd did not confirm: it is tried again, for ever."""
    delay_s = min(rules.retry.backoff.delay_s(attempts, draw=draw), rules.max_delay_s)
    return Verdict(OutcomeLabel.REQUEUE, RequeueReason.DEAD_LETTER_FAILED, delay_s, detail)


def _unruled(rules: Rules, error: Exception, detail: str, *, attempts: int, draw: float) -> Verdict:
    if isinstance(error, BreakerOpenError):
        return _after_breaker(rules, error.remaining_s, detail, attempts=attempts)
    return _again(rules, _blame(error), None, detail, attempts=attempts, draw=draw)


def _after_breaker(rules: Rules, remaining_s: float, detail: str, *, attempts: int) -> Verdict:
    """Return the verdict on a call that a breaker refused: no fault of the message's, so it is tried on.

    It spends attempts all the same. It is given up before it would count as ending its process.
    """
    if attempts >= rules.retry.max_attempts + CRASH_SLACK:
        verdict = _dead(rules, DeadLetterReason.EXHAUSTED, detail)
        return replace(verdict, pause_s=remaining_s)
    delay_s = min(remaining_s, rules.max_delay_s)
    return Verdict(OutcomeLabel.REQUEUE, RequeueReason.BREAKER_OPEN, delay_s, detail, pause_s=remaining_s)


def _blame(error: Exception) -> RequeueReason:
    return RequeueReason.TIMEOUT if isinstance(error, HandlerTimeoutError) else RequeueReason.ERROR


def _again(
    rules: Rules,
    reason: RequeueReason,
    delay_s: float | None,
    detail: str,
    *,
    attempts: int,
    draw: float,
    pause_s: float = 0.0,
) -> Verdict:
    if attempts >= rules.retry.max_attempts:
        verdict = _dead(rules, DeadLetterReason.EXHAUSTED, detail)
        return Verdict(verdict.label, verdict.reason, 0.0, verdict.detail, pause_s)
    asked_s = rules.retry.backoff.delay_s(attempts, draw=draw) if delay_s is None else delay_s
    sent_s = min(asked_s, rules.max_delay_s)
    clamped = delay_s is not None and sent_s < asked_s
    return Verdict(OutcomeLabel.REQUEUE, reason, sent_s, detail, pause_s, clamped)


def _dead(rules: Rules, reason: DeadLetterReason, detail: str) -> Verdict:
    if rules.keeps_dead_letters:
        return Verdict(OutcomeLabel.DEAD_LETTER, reason, detail=detail)
    return Verdict(OutcomeLabel.DISCARD, detail=f"{reason}: {detail}" if detail else reason)
