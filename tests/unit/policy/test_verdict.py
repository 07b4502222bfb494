"""Verdicts: each way that a delivery can go ends in exactly one outcome (DESIGN section 2)."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import (
    BreakerOpenError,
    DecodeError,
    HandlerTimeoutError,
    PublishError,
    UnknownEventError,
)
from nsqkit.policy.outcome import DeadLetter, Discard, Finish, Outcome, Pause, Requeue
from nsqkit.policy.retry import Exponential, RetryPolicy
from nsqkit.policy.verdict import (
    LEASE_LOST,
    SHUTDOWN,
    SUCCESS,
    DeadLetterReason,
    OutcomeLabel,
    RequeueReason,
    Rules,
    Verdict,
    on_arrival,
    on_dead_letter_failure,
    on_duplicate,
    on_error,
    on_not_started,
    on_outcome,
    on_publish_failure,
    on_refused_events,
    on_stored,
    on_undecodable,
    on_unknown_type,
    on_unread,
)


class QuotaError(Exception):
    pass


BACKOFF = Exponential(base_s=2, factor=3, max_s=600)
RULES = Rules(
    RetryPolicy(
        max_attempts=5,
        backoff=BACKOFF,
        on={
            QuotaError: Pause(60),
            KeyError: DeadLetter("unknown sku"),
            LookupError: DeadLetter(),
            FileExistsError: Finish(),
            FileNotFoundError: Discard("gone"),
            PermissionError: Discard(),
            ArithmeticError: Requeue(7),
            TypeError: Requeue(),
        },
    ),
)
FORGETFUL = dataclasses.replace(RULES, keeps_dead_letters=False)
PLAIN = Rules(RetryPolicy(max_attempts=5, backoff=BACKOFF))
SHORT = dataclasses.replace(RULES, max_delay_s=5.0)


def _requeue(reason: RequeueReason, delay_s: float, detail: str = "", **more: Any) -> Verdict:
    return Verdict(OutcomeLabel.REQUEUE, reason, delay_s, detail, **more)


def _dead(reason: DeadLetterReason, detail: str = "", **more: Any) -> Verdict:
    return Verdict(OutcomeLabel.DEAD_LETTER, reason, detail=detail, **more)


def _discard(detail: str = "") -> Verdict:
    return Verdict(OutcomeLabel.DISCARD, detail=detail)


# What a handler returns


@pytest.mark.parametrize(
    ("outcome", "attempts", "expected"),
    [
        pytest.param(Finish(), 1, SUCCESS, id="finish is a success"),
        pytest.param(Finish(), 9, SUCCESS, id="however late"),
        pytest.param(Discard("old"), 1, _discard("old"), id="discard is a discard, with its detail"),
        pytest.param(Discard("old"), 5, _discard("old"), id="also at the last attempt"),
        pytest.param(
            DeadLetter("bad"), 1, _dead(DeadLetterReason.REQUESTED, "bad"), id="a dead letter was requested"
        ),
        pytest.param(
            DeadLetter("bad"),
            5,
            _dead(DeadLetterReason.REQUESTED, "bad"),
            id="also at the last attempt, not exhausted",
        ),
        pytest.param(
            Requeue(9), 1, _requeue(RequeueReason.REQUESTED, 9), id="a requeue waits as long as it says"
        ),
        pytest.param(Requeue(0), 1, _requeue(RequeueReason.REQUESTED, 0), id="or not at all"),
        pytest.param(
            Requeue(),
            2,
            _requeue(RequeueReason.REQUESTED, 6.75),
            id="or by the backoff where it says nothing",
        ),
        pytest.param(
            Requeue(900), 1, _requeue(RequeueReason.REQUESTED, 900), id="the longest delay is sent as it is"
        ),
        pytest.param(
            Requeue(901),
            1,
            _requeue(RequeueReason.REQUESTED, 900, asked_s=901),
            id="a longer one is cut, and that is told",
        ),
        pytest.param(
            Requeue(9), 4, _requeue(RequeueReason.REQUESTED, 9), id="the last but one attempt is requeued"
        ),
        pytest.param(Requeue(9), 5, _dead(DeadLetterReason.EXHAUSTED), id="the last one is exhausted"),
        pytest.param(Requeue(9), 6, _dead(DeadLetterReason.EXHAUSTED), id="and so are those behind it"),
        pytest.param(
            Pause(60),
            1,
            _requeue(RequeueReason.PAUSED, 60, pause_s=60),
            id="a pause rests message and intake",
        ),
        pytest.param(
            Pause(1000),
            1,
            _requeue(RequeueReason.PAUSED, 900, pause_s=1000, asked_s=1000),
            id="a long pause rests the intake for all of it",
        ),
        pytest.param(
            Pause(60),
            5,
            _requeue(RequeueReason.PAUSED, 60, pause_s=60),
            id="an outage is no fault of the message's, so that a pause never exhausts it",
        ),
    ],
)
def test_an_outcome_is_what_the_handler_says(outcome: Outcome, attempts: int, expected: Verdict) -> None:
    assert on_outcome(RULES, outcome, attempts=attempts, draw=0.5) == expected


@pytest.mark.parametrize(
    ("outcome", "attempts", "expected"),
    [
        pytest.param(DeadLetter("bad"), 1, _discard("requested: bad"), id="a requested dead letter"),
        pytest.param(DeadLetter(), 1, _discard("requested"), id="one without a detail"),
        pytest.param(Requeue(9), 5, _discard("exhausted"), id="an exhausted message"),
    ],
)
def test_a_handler_without_dead_letters_discards(outcome: Outcome, attempts: int, expected: Verdict) -> None:
    verdict = on_outcome(FORGETFUL, outcome, attempts=attempts, draw=0.5)
    assert verdict == expected
    assert type(verdict.reason) is str


# What a handler raises


@pytest.mark.parametrize(
    ("error", "attempts", "expected"),
    [
        pytest.param(
            ValueError(), 1, _requeue(RequeueReason.ERROR, 2.25, "why"), id="a failure waits by the backoff"
        ),
        pytest.param(ValueError(), 3, _requeue(RequeueReason.ERROR, 20.25, "why"), id="longer each time"),
        pytest.param(ValueError(), 5, _dead(DeadLetterReason.EXHAUSTED, "why"), id="until it is exhausted"),
        pytest.param(
            HandlerTimeoutError(30),
            1,
            _requeue(RequeueReason.TIMEOUT, 2.25, "why"),
            id="nsqkit's timeout is told apart",
        ),
        pytest.param(
            HandlerTimeoutError(30),
            5,
            _dead(DeadLetterReason.EXHAUSTED, "why"),
            id="and is exhausted like any other",
        ),
        pytest.param(
            QuotaError(),
            1,
            _requeue(RequeueReason.PAUSED, 60, "why", pause_s=60),
            id="a rule may rest the intake",
        ),
        pytest.param(
            QuotaError(),
            5,
            _requeue(RequeueReason.PAUSED, 60, "why", pause_s=60),
            id="at the last attempt too",
        ),
        pytest.param(
            ZeroDivisionError(), 1, _requeue(RequeueReason.ERROR, 7, "why"), id="a rule may set the delay"
        ),
        pytest.param(
            ZeroDivisionError(), 5, _dead(DeadLetterReason.EXHAUSTED, "why"), id="but not requeue for ever"
        ),
        pytest.param(
            TypeError(),
            2,
            _requeue(RequeueReason.ERROR, 6.75, "why"),
            id="a rule may leave it to the backoff",
        ),
        pytest.param(
            KeyError(),
            1,
            _dead(DeadLetterReason.RULE, "unknown sku"),
            id="a rule may dead-letter, in its own words",
        ),
        pytest.param(IndexError(), 1, _dead(DeadLetterReason.RULE, "why"), id="or in those of the error"),
        pytest.param(
            IndexError(), 5, _dead(DeadLetterReason.RULE, "why"), id="by the rule, also at the last attempt"
        ),
        pytest.param(FileNotFoundError(), 1, _discard("gone"), id="a rule may discard, in its own words"),
        pytest.param(PermissionError(), 1, _discard("why"), id="or in those of the error too"),
        pytest.param(
            FileExistsError(),
            1,
            Verdict(OutcomeLabel.SUCCESS, detail="why"),
            id="a rule may finish, and the error is told",
        ),
    ],
)
def test_an_error_is_what_the_policy_says(error: Exception, attempts: int, expected: Verdict) -> None:
    assert on_error(RULES, error, "why", attempts=attempts, draw=0.5) == expected


REFUSED = BreakerOpenError("shop", 45.0)


@pytest.mark.parametrize(
    ("error", "attempts", "expected"),
    [
        pytest.param(
            REFUSED,
            1,
            _requeue(RequeueReason.BREAKER_OPEN, 45, "why", pause_s=45),
            id="it comes back when the breaker may be tried, and the intake rests as long",
        ),
        pytest.param(
            BreakerOpenError("shop", 1000.0),
            1,
            _requeue(RequeueReason.BREAKER_OPEN, 900, "why", pause_s=1000),
            id="no later than nsqd is asked for",
        ),
        pytest.param(
            BreakerOpenError("shop", 0.0),
            1,
            _requeue(RequeueReason.BREAKER_OPEN, 0.01, "why", pause_s=0.01),
            id="and not at once, which would spin",
        ),
        pytest.param(
            REFUSED,
            5,
            _requeue(RequeueReason.BREAKER_OPEN, 45, "why", pause_s=45),
            id="it is no fault of the message's, so that it is tried on",
        ),
        pytest.param(
            REFUSED,
            10_000,
            _requeue(RequeueReason.BREAKER_OPEN, 45, "why", pause_s=45),
            id="however long the outage lasts",
        ),
        pytest.param(
            ExceptionGroup("g", [BreakerOpenError("bank", 5.0), REFUSED]),
            5,
            _requeue(RequeueReason.BREAKER_OPEN, 45, "why", pause_s=45),
            id="of several it waits for the last",
        ),
        pytest.param(
            ExceptionGroup("g", [REFUSED, ValueError("x")]),
            5,
            _dead(DeadLetterReason.EXHAUSTED, "why"),
            id="another error beside it is the message's fault",
        ),
    ],
)
def test_a_breaker_that_is_open(error: Exception, attempts: int, expected: Verdict) -> None:
    assert on_error(RULES, error, "why", attempts=attempts, draw=0.5) == expected


def test_a_rule_for_an_open_breaker_is_asked_first() -> None:
    rules = Rules(RetryPolicy(max_attempts=5, on={BreakerOpenError: Discard("skip")}))
    assert on_error(rules, REFUSED, "why", attempts=1, draw=0.0) == _discard("skip")


@pytest.mark.parametrize(
    ("for_s", "delay_s"),
    [
        pytest.param(30.0, 30.0, id="it comes back when that is over"),
        pytest.param(1000.0, 900.0, id="no later than nsqd is asked for"),
        pytest.param(math.inf, 900.0, id="nor where nobody knows when"),
        pytest.param(-0.5, 0.0, id="at once if it is over by now"),
    ],
)
def test_what_was_not_started_in_time_comes_back_whatever_its_attempts(for_s: float, delay_s: float) -> None:
    verdict = on_not_started(RULES, RequeueReason.PAUSED, for_s=for_s)
    assert verdict == _requeue(RequeueReason.PAUSED, delay_s)


def test_a_duplicate_is_one() -> None:
    assert on_duplicate() == Verdict(OutcomeLabel.DUPLICATE)


@pytest.mark.parametrize("ruled", [HandlerTimeoutError, TimeoutError, OSError, Exception])
def test_a_rule_for_a_wider_class_matches_a_timeout_too(ruled: type[Exception]) -> None:
    rules = Rules(RetryPolicy(on={ruled: Requeue(7)}))
    verdict = on_error(rules, HandlerTimeoutError(30), "", attempts=1, draw=0.0)
    assert verdict == _requeue(RequeueReason.TIMEOUT, 7)


def test_a_timeout_of_the_handlers_own_is_an_error() -> None:
    assert on_error(PLAIN, TimeoutError(), "", attempts=1, draw=0.0).reason is RequeueReason.ERROR


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(
            ZeroDivisionError(), _requeue(RequeueReason.ERROR, 5, asked_s=7), id="the delay of a rule"
        ),
        pytest.param(ValueError(), _requeue(RequeueReason.ERROR, 5), id="a backoff is cut without telling"),
    ],
)
def test_no_delay_is_longer_than_the_setting(error: Exception, expected: Verdict) -> None:
    assert on_error(SHORT, error, "", attempts=4, draw=0.5) == expected


# What never reaches a handler


@pytest.mark.parametrize(
    ("rules", "attempts", "age_s", "expected"),
    [
        pytest.param(RULES, 1, 1e9, None, id="without max_age_s nothing is too old"),
        pytest.param(RULES, 6, 0.0, None, id="a delivery past the policy is handled"),
        pytest.param(RULES, 15, 0.0, None, id="and so are ten more"),
        pytest.param(
            RULES,
            16,
            0.0,
            _dead(
                DeadLetterReason.CRASH_SUSPECT,
                "delivery 16 of at most 5: more than 10 deliveries left no outcome; it may crash its process",
            ),
            id="after that it is suspected to end its process",
        ),
        pytest.param(
            FORGETFUL,
            16,
            0.0,
            _discard(
                "crash_suspect: delivery 16 of at most 5: more than 10 deliveries left no outcome; "
                "it may crash its process"
            ),
            id="and is discarded where there are no dead letters",
        ),
        pytest.param(
            dataclasses.replace(RULES, max_age_s=60), 1, 60.0, None, id="the greatest age is not too old"
        ),
        pytest.param(
            dataclasses.replace(RULES, max_age_s=60),
            1,
            60.04,
            _dead(DeadLetterReason.EXPIRED, "60.0 s old; max_age_s=60"),
            id="an older one is a dead letter",
        ),
        pytest.param(
            dataclasses.replace(RULES, max_age_s=0.5, on_expired="discard"),
            1,
            7.25,
            _discard("7.2 s old; max_age_s=0.5"),
            id="or is discarded where that is chosen",
        ),
        pytest.param(
            dataclasses.replace(FORGETFUL, max_age_s=60),
            1,
            61.0,
            _discard("expired: 61.0 s old; max_age_s=60"),
            id="or where there are no dead letters",
        ),
        pytest.param(
            dataclasses.replace(RULES, max_age_s=60, on_expired="discard"),
            16,
            61.0,
            _dead(
                DeadLetterReason.CRASH_SUSPECT,
                "delivery 16 of at most 5: more than 10 deliveries left no outcome; it may crash its process",
            ),
            id="a suspect is kept however old it is",
        ),
    ],
)
def test_some_messages_end_on_arrival(
    rules: Rules, attempts: int, age_s: float, expected: Verdict | None
) -> None:
    assert on_arrival(rules, attempts=attempts, age_s=age_s) == expected


def test_a_message_whose_age_is_not_known_does_not_expire() -> None:
    """Its nsqd's clock may be another one than this machine's."""
    rules = dataclasses.replace(RULES, max_age_s=60)
    assert on_arrival(rules, attempts=1, age_s=None) is None


def test_a_body_that_cannot_be_decoded_is_a_dead_letter_at_once() -> None:
    assert on_undecodable(RULES, "not JSON") == _dead(DeadLetterReason.UNDECODABLE, "not JSON")
    assert on_undecodable(FORGETFUL, "not JSON") == _discard("undecodable: not JSON")


def test_what_cannot_be_read_is_undecodable_and_says_where() -> None:
    verdict = on_unread(
        RULES, DecodeError("orders", "order.created.v1", "$.data.n", "not a number"), attempts=1
    )
    assert verdict == _dead(DeadLetterReason.UNDECODABLE, verdict.detail)
    assert verdict.detail.startswith("topic orders: order.created.v1 at $.data.n: not a number")


@pytest.mark.parametrize("attempts", [1, RULES.retry.max_attempts])
def test_an_unknown_type_has_the_verdict_of_its_attempts(attempts: int) -> None:
    verdict = on_unread(RULES, UnknownEventError("orders", "order.created.v2"), attempts=attempts)
    assert verdict == on_unknown_type(RULES, verdict.detail, attempts=attempts)


def test_what_is_said_of_an_unread_message_is_redacted() -> None:
    assert "hush" not in on_unread(RULES, UnknownEventError("orders", "token=hush"), attempts=1).detail


@pytest.mark.parametrize(
    ("rules", "attempts", "expected"),
    [
        pytest.param(
            RULES, 1, _requeue(RequeueReason.UNKNOWN_TYPE, 30, "v9"), id="it waits for a worker that knows it"
        ),
        pytest.param(RULES, 4, _requeue(RequeueReason.UNKNOWN_TYPE, 30, "v9"), id="always as long"),
        pytest.param(RULES, 5, _dead(DeadLetterReason.UNKNOWN_TYPE, "v9"), id="until the attempts are spent"),
        pytest.param(
            SHORT, 1, _requeue(RequeueReason.UNKNOWN_TYPE, 5, "v9"), id="not longer than the setting"
        ),
        pytest.param(
            dataclasses.replace(RULES, on_unknown="discard"), 1, _discard("v9"), id="or is discarded"
        ),
        pytest.param(
            dataclasses.replace(RULES, on_unknown="dead_letter"),
            1,
            _dead(DeadLetterReason.UNKNOWN_TYPE, "v9"),
            id="or is a dead letter at once",
        ),
        pytest.param(FORGETFUL, 5, _discard("unknown_type: v9"), id="or is discarded in the end"),
    ],
)
def test_an_event_type_that_is_not_taken_here_goes_the_chosen_way(
    rules: Rules, attempts: int, expected: Verdict
) -> None:
    assert on_unknown_type(rules, "v9", attempts=attempts) == expected


# What goes wrong at the end


@pytest.mark.parametrize(
    ("rules", "attempts", "expected"),
    [
        pytest.param(RULES, 1, _requeue(RequeueReason.DEAD_LETTER_FAILED, 2.25, "down"), id="by the backoff"),
        pytest.param(
            RULES, 5, _requeue(RequeueReason.DEAD_LETTER_FAILED, 182.25, "down"), id="also when exhausted"
        ),
        pytest.param(RULES, 65535, _requeue(RequeueReason.DEAD_LETTER_FAILED, 675, "down"), id="for ever"),
        pytest.param(
            SHORT, 9, _requeue(RequeueReason.DEAD_LETTER_FAILED, 5, "down"), id="never longer than allowed"
        ),
    ],
)
def test_a_dead_letter_that_nsqd_did_not_confirm_is_tried_again(
    rules: Rules, attempts: int, expected: Verdict
) -> None:
    assert on_dead_letter_failure(rules, "down", attempts=attempts, draw=0.5) == expected


@pytest.mark.parametrize(("attempts", "delay_s"), [(1, 2.25), (5, 182.25), (65535, 675)])
def test_events_that_nsqd_refuses_until_a_person_acts_never_exhaust_their_message(
    attempts: int, delay_s: float
) -> None:
    expected = Verdict(OutcomeLabel.REQUEUE, RequeueReason.PAUSED, delay_s, "no permission")
    assert on_refused_events(RULES, "no permission", attempts=attempts, draw=0.5) == expected


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        pytest.param(
            2,
            Verdict(OutcomeLabel.REQUEUE, RequeueReason.ERROR, 6.75, "down"),
            id="it comes again by backoff",
        ),
        pytest.param(
            5,
            Verdict(OutcomeLabel.DEAD_LETTER, DeadLetterReason.EXHAUSTED, 0.0, "down"),
            id="until exhausted",
        ),
    ],
)
def test_events_that_nsqd_did_not_confirm_ask_no_rule(attempts: int, expected: Verdict) -> None:
    """A rule such as `Exception: Finish()` would lose them."""
    rules = Rules(RetryPolicy(max_attempts=5, backoff=BACKOFF, on={Exception: Finish()}))
    assert on_publish_failure(rules, "down", attempts=attempts, draw=0.5) == expected


def test_a_requeue_that_is_a_row_waits_for_all_of_its_delay() -> None:
    cut = on_outcome(RULES, Requeue(901), attempts=1, draw=0.5)
    stored = on_stored(cut)
    assert (cut.clamped, stored.clamped) == (True, False)
    assert stored == _requeue(RequeueReason.SCHEDULED, 901, is_stored=True)


def test_the_verdicts_that_need_no_rules() -> None:
    assert Verdict(OutcomeLabel.SUCCESS, "", 0.0, "", 0.0, 0.0, is_stored=False) == SUCCESS
    assert Verdict(OutcomeLabel.LEASE_LOST) == LEASE_LOST
    assert Verdict(OutcomeLabel.REQUEUE, RequeueReason.SHUTDOWN) == SHUTDOWN


def test_rules_keep_dead_letters_and_wait_for_other_workers_unless_told_otherwise() -> None:
    assert Rules(RetryPolicy()) == Rules(
        RetryPolicy(),
        on_unknown="requeue",
        max_age_s=None,
        on_expired="dead_letter",
        keeps_dead_letters=True,
        max_delay_s=900.0,
    )


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        pytest.param(OutcomeLabel, "success requeue dead_letter discard duplicate lease_lost", id="endings"),
        pytest.param(
            RequeueReason,
            "error timeout requested scheduled unknown_type breaker_open kill_switch paused rate_limited "
            "dead_letter_failed shutdown",
            id="reasons of a requeue",
        ),
        pytest.param(
            DeadLetterReason,
            "exhausted rule requested undecodable unknown_type expired crash_suspect",
            id="reasons of a dead letter",
        ),
    ],
)
def test_the_labels_of_the_metrics_are_closed_sets(labels: Any, expected: str) -> None:
    assert [str(label) for label in labels] == expected.split()


# And nothing else can happen

SECONDS = st.floats(0, 7200)
OUTCOMES: st.SearchStrategy[Outcome] = st.one_of(
    st.just(Finish()),
    st.builds(Requeue, st.none() | SECONDS),
    st.builds(DeadLetter, st.text(max_size=5)),
    st.builds(Discard, st.text(max_size=5)),
    st.builds(Pause, st.floats(0.001, 7200)),
)
RULED: st.SearchStrategy[Outcome] = OUTCOMES.filter(
    lambda outcome: (
        not (isinstance(outcome, Requeue) and (outcome.delay_s or 0) > 3600)
        and not (isinstance(outcome, Pause) and outcome.for_s > 3600)
    )
)
ERRORS: st.SearchStrategy[Exception] = st.sampled_from(
    [
        ValueError(),
        KeyError(),
        TimeoutError(),
        HandlerTimeoutError(1),
        PublishError("t", "h:1", "down", False),
    ]
)
POLICIES = st.builds(
    RetryPolicy,
    st.integers(1, 65525),
    st.builds(Exponential, st.floats(0.001, 10), st.floats(1, 9), st.floats(10, 3600)),
    st.dictionaries(st.sampled_from([ValueError, LookupError, TimeoutError, Exception]), RULED),
)
ALL_RULES = st.builds(
    Rules,
    POLICIES,
    st.sampled_from(["requeue", "discard", "dead_letter"]),
    st.none() | st.floats(0.001, 1e6),
    st.sampled_from(["discard", "dead_letter"]),
    st.booleans(),
    st.floats(0, 3600),
)
ATTEMPTS = st.integers(1, 65535)
DRAWS = st.floats(0, 1, exclude_max=True)


def _assert_legal(verdict: Verdict, rules: Rules) -> None:
    """One ending with the reason that belongs to it, and a delay that may be sent to nsqd."""
    kind = {OutcomeLabel.REQUEUE: RequeueReason, OutcomeLabel.DEAD_LETTER: DeadLetterReason}.get(
        verdict.label, str
    )
    assert type(verdict.reason) is kind
    assert bool(verdict.reason) is (kind is not str)
    assert verdict.label is not OutcomeLabel.DEAD_LETTER or rules.keeps_dead_letters
    assert 0 <= verdict.delay_s <= rules.max_delay_s
    assert verdict.label is OutcomeLabel.REQUEUE or verdict.delay_s == 0
    assert not verdict.clamped or verdict.delay_s == rules.max_delay_s
    assert verdict.pause_s >= 0


def _assert_spent(verdict: Verdict, rules: Rules, attempts: int) -> None:
    is_outage = verdict.pause_s > 0
    assert verdict.label is not OutcomeLabel.REQUEUE or is_outage or attempts < rules.retry.max_attempts


@given(ALL_RULES, OUTCOMES, ATTEMPTS, DRAWS)
def test_every_outcome_has_one_legal_verdict(
    rules: Rules, outcome: Outcome, attempts: int, draw: float
) -> None:
    verdict = on_outcome(rules, outcome, attempts=attempts, draw=draw)
    _assert_legal(verdict, rules)
    _assert_spent(verdict, rules, attempts)
    assert (verdict.label is OutcomeLabel.SUCCESS) is (outcome == Finish())
    assert (verdict.pause_s > 0) is isinstance(outcome, Pause)


@given(ALL_RULES, ERRORS, ATTEMPTS, DRAWS)
def test_every_error_has_one_legal_verdict(
    rules: Rules, error: Exception, attempts: int, draw: float
) -> None:
    verdict = on_error(rules, error, "why", attempts=attempts, draw=draw)
    _assert_legal(verdict, rules)
    _assert_spent(verdict, rules, attempts)
    assert (verdict.label is OutcomeLabel.SUCCESS) is (rules.retry.outcome_for(error) == Finish())


@given(ALL_RULES, ATTEMPTS, st.floats(0, 1e7))
def test_every_arrival_goes_on_or_has_one_legal_verdict(rules: Rules, attempts: int, age_s: float) -> None:
    verdict = on_arrival(rules, attempts=attempts, age_s=age_s)
    if verdict is not None:
        _assert_legal(verdict, rules)
        assert verdict.label in {OutcomeLabel.DEAD_LETTER, OutcomeLabel.DISCARD}


@given(ALL_RULES, ATTEMPTS, DRAWS)
def test_every_other_end_has_one_legal_verdict(rules: Rules, attempts: int, draw: float) -> None:
    unknown = on_unknown_type(rules, "v9", attempts=attempts)
    _assert_legal(unknown, rules)
    _assert_spent(unknown, rules, attempts)
    _assert_legal(on_undecodable(rules, "not JSON"), rules)
    failed = on_dead_letter_failure(rules, "down", attempts=attempts, draw=draw)
    _assert_legal(failed, rules)
    assert failed.label is OutcomeLabel.REQUEUE


@given(
    st.integers(1, 20),
    st.builds(Exponential, st.floats(0.001, 10), st.floats(1, 9), st.floats(10, 900)),
    ATTEMPTS,
    DRAWS,
)
def test_a_failure_never_comes_back_before_its_backoff(
    max_attempts: int, backoff: Exponential, attempts: int, draw: float
) -> None:
    """Additive jitter and the setting's ceiling together never shorten a loadable policy's delay."""
    rules = Rules(RetryPolicy(max_attempts, backoff), max_delay_s=900.0)
    verdict = on_error(rules, ValueError(), "", attempts=attempts, draw=draw)
    if verdict.label is OutcomeLabel.REQUEUE:
        assert verdict.delay_s >= backoff.ceiling_s(attempts)
