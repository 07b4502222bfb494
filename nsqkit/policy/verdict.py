"""Verdicts: decide the outcome of one delivery from its result.

A handler returns an ``Outcome``. A ``Verdict`` says what nsqkit does with the message, with the label and the
reason for metrics and log.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from nsqkit.errors import DecodeError, HandlerTimeoutError, UnknownEventError
from nsqkit.policy.leaves import refused_for_s
from nsqkit.policy.outcome import DeadLetter, Discard, Duplicate, Finish, Outcome, Pause, Requeue
from nsqkit.policy.redaction import redact
from nsqkit.policy.retry import RetryPolicy

UNKNOWN_DELAY_S = 30.0
CRASH_SLACK = 10
LEAST_REST_S = 0.01
"""Least pause after a call that a breaker refused, in seconds: a handler never spins."""


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
    SCHEDULED = "scheduled"
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
    """The part of a handler's declaration that decides the outcome of its deliveries.

    Args:
        retry: Attempts, backoff, and outcomes for certain exceptions.
        on_unknown: What to do with event types that the handler does not handle.
        max_age_s: Seconds after publishing at which a message expires; None for never.
        on_expired: What to do with an expired message.
        keeps_dead_letters: False turns every dead letter into a discard.
        max_delay_s: Longest requeue delay that is sent to nsqd, in seconds.
    """

    retry: RetryPolicy
    on_unknown: OnUnknown = "requeue"
    max_age_s: float | None = None
    on_expired: OnExpired = "dead_letter"
    keeps_dead_letters: bool = True
    max_delay_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on the outcome of one delivery.

    Args:
        label: Outcome in metrics and log.
        reason: Reason of a requeue or a dead letter; empty for other outcomes.
        delay_s: Requeue delay in seconds, 0 or more; 0 for other outcomes.
        detail: Explanation in one line, for the log and the dead letter.
        pause_s: Seconds for which the handler's intake pauses; 0 for no pause.
        asked_s: Delay that was asked for, if it was cut to ``max_delay_s``; else 0.
        is_stored: Whether a row of a database delivers the message again, so that nsqd gets FIN.
    """

    label: OutcomeLabel
    reason: RequeueReason | DeadLetterReason | Literal[""] = ""
    delay_s: float = 0.0
    detail: str = ""
    pause_s: float = 0.0
    asked_s: float = 0.0
    is_stored: bool = False

    @property
    def clamped(self) -> bool:
        """Whether the requested delay was cut to ``max_delay_s``."""
        return self.asked_s > 0.0


SUCCESS = Verdict(OutcomeLabel.SUCCESS)
LEASE_LOST = Verdict(OutcomeLabel.LEASE_LOST)
SHUTDOWN = Verdict(OutcomeLabel.REQUEUE, RequeueReason.SHUTDOWN)


def on_arrival(rules: Rules, *, attempts: int, age_s: float | None) -> Verdict | None:
    """Return the verdict on a message that is given up before decoding, or None to handle it.

    Args:
        rules: Retry policy and limits of the handler.
        attempts: Deliveries so far, this one included.
        age_s: Seconds since the message was published; None if that is not known, as nsqd's clock may be
            another one than this machine's. Then the message does not expire.
    """
    limit = rules.retry.max_attempts + CRASH_SLACK
    if attempts > limit:
        lost = f"more than {CRASH_SLACK} deliveries left no outcome; it may crash its process"
        detail = f"delivery {attempts} of at most {rules.retry.max_attempts}: {lost}"
        return _dead(rules, DeadLetterReason.CRASH_SUSPECT, detail)
    if rules.max_age_s is not None and age_s is not None and age_s > rules.max_age_s:
        detail = f"{age_s:.1f} s old; max_age_s={rules.max_age_s:g}"
        if rules.on_expired == "discard":
            return Verdict(OutcomeLabel.DISCARD, detail=detail)
        return _dead(rules, DeadLetterReason.EXPIRED, detail)
    return None


def on_unread(rules: Rules, error: DecodeError | UnknownEventError, *, attempts: int) -> Verdict:
    """Return the verdict on a message without an event for its handler.

    Args:
        rules: Limits of the handler, and what it does with unknown types.
        error: Why it has no event.
        attempts: Deliveries so far, this one included; 1 or more.
    """
    detail = redact(str(error))
    if isinstance(error, UnknownEventError):
        return on_unknown_type(rules, detail, attempts=attempts)
    return on_undecodable(rules, detail)


def on_undecodable(rules: Rules, detail: str) -> Verdict:
    """Return the verdict on a body that is not a valid event."""
    return _dead(rules, DeadLetterReason.UNDECODABLE, detail)


def on_unknown_type(rules: Rules, detail: str, *, attempts: int) -> Verdict:
    """Return the verdict on an event whose type or version the handler does not handle."""
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
        rules: Retry policy and limits of the handler.
        outcome: The returned value; ``Finish()`` for None.
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
            return _rest(rules, RequeueReason.PAUSED, for_s)


def on_error(rules: Rules, error: Exception, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on an exception that the handler raised, a timeout included.

    Args:
        rules: Retry policy and limits of the handler; the first matching ``on`` rule wins.
        error: The raised exception.
        detail: Description of the exception in one line, redacted.
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
            return _rest(rules, RequeueReason.PAUSED, for_s, detail)
        case Requeue(delay_s=delay_s):
            return _again(rules, _blame(error), delay_s, detail, attempts=attempts, draw=draw)
        case None:  # pragma: no branch - mypy proves that there is no other
            return _unruled(rules, error, detail, attempts=attempts, draw=draw)


def on_stored(verdict: Verdict) -> Verdict:
    """Return the verdict on a message that a row delivers again, after the whole delay that was asked for.

    Args:
        verdict: The verdict without the row: a requeue whose delay was cut.
    """
    return replace(
        verdict, reason=RequeueReason.SCHEDULED, delay_s=verdict.asked_s, asked_s=0.0, is_stored=True
    )


def on_duplicate() -> Verdict:
    """Return the verdict on a delivery whose message an earlier delivery finished in the meantime."""
    return Verdict(OutcomeLabel.DUPLICATE)


def on_not_started(rules: Rules, reason: RequeueReason, *, for_s: float) -> Verdict:
    """Return the verdict on a delivery whose lease ran out before its handler could start.

    Args:
        rules: Retry policy and limits of the handler.
        reason: Why the handler could not start.
        for_s: Seconds until the handler may start; infinite if that is not known.
    """
    return Verdict(OutcomeLabel.REQUEUE, reason, min(max(for_s, 0.0), rules.max_delay_s))


def on_publish_failure(rules: Rules, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on a success whose events nsqd did not confirm.

    ``on`` rules do not apply: they are for exceptions of the handler, and a rule with ``Finish()`` would lose
    the events.
    """
    return _again(rules, RequeueReason.ERROR, None, detail, attempts=attempts, draw=draw)


def on_refused_events(rules: Rules, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on a success whose events nsqd refuses until a person acts: retry for ever."""
    return _endless(rules, RequeueReason.PAUSED, detail, attempts=attempts, draw=draw)


def on_dead_letter_failure(rules: Rules, detail: str, *, attempts: int, draw: float) -> Verdict:
    """Return the verdict on a dead letter that nsqd did not confirm: retry without a limit."""
    return _endless(rules, RequeueReason.DEAD_LETTER_FAILED, detail, attempts=attempts, draw=draw)


def _endless(rules: Rules, reason: RequeueReason, detail: str, *, attempts: int, draw: float) -> Verdict:
    delay_s = min(rules.retry.backoff.delay_s(attempts, draw=draw), rules.max_delay_s)
    return Verdict(OutcomeLabel.REQUEUE, reason, delay_s, detail)


def _unruled(rules: Rules, error: Exception, detail: str, *, attempts: int, draw: float) -> Verdict:
    if (remaining_s := refused_for_s(error)) is not None:
        return _rest(rules, RequeueReason.BREAKER_OPEN, max(remaining_s, LEAST_REST_S), detail)
    return _again(rules, _blame(error), None, detail, attempts=attempts, draw=draw)


def _rest(rules: Rules, reason: RequeueReason, for_s: float, detail: str = "") -> Verdict:
    """Return the verdict on a message whose handler met an outage: requeue, however many attempts it had."""
    delay_s = min(for_s, rules.max_delay_s)
    asked_s = for_s if reason is RequeueReason.PAUSED and delay_s < for_s else 0.0
    return Verdict(OutcomeLabel.REQUEUE, reason, delay_s, detail, pause_s=for_s, asked_s=asked_s)


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
) -> Verdict:
    if attempts >= rules.retry.max_attempts:
        return _dead(rules, DeadLetterReason.EXHAUSTED, detail)
    wanted_s = rules.retry.backoff.delay_s(attempts, draw=draw) if delay_s is None else delay_s
    sent_s = min(wanted_s, rules.max_delay_s)
    asked_s = wanted_s if delay_s is not None and sent_s < wanted_s else 0.0
    return Verdict(OutcomeLabel.REQUEUE, reason, sent_s, detail, asked_s=asked_s)


def _dead(rules: Rules, reason: DeadLetterReason, detail: str) -> Verdict:
    if rules.keeps_dead_letters:
        return Verdict(OutcomeLabel.DEAD_LETTER, reason, detail=detail)
    return Verdict(OutcomeLabel.DISCARD, detail=f"{reason}: {detail}" if detail else reason)
