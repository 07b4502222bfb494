"""Retry policies: how delays grow, what jitter does to them, and which policies cannot be made."""

import dataclasses
import math
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import HandlerTimeoutError
from nsqkit.policy.outcome import DeadLetter, Discard, Finish, Outcome, Pause, Requeue
from nsqkit.policy.retry import ADDITIVE_SHARE, MAX_ATTEMPTS, MAX_DELAY_S, Exponential, Jitter, RetryPolicy

ATTEMPTS = st.integers(1, 65535)
DRAWS = st.floats(0, 1, exclude_max=True)


@st.composite
def backoffs(draw: st.DrawFn, *jitters: Jitter) -> Exponential:
    base_s = draw(st.floats(0.001, MAX_DELAY_S))
    factor = draw(st.one_of(st.floats(1, 1e6), st.integers(1, 10)))
    max_s = draw(st.floats(base_s, MAX_DELAY_S))
    jitter = draw(st.sampled_from(jitters or get_args(Jitter)))
    return Exponential(base_s, factor, max_s, jitter)


class QuotaError(Exception):
    pass


class DailyQuotaError(QuotaError):
    pass


@pytest.mark.parametrize(
    ("backoff", "attempts", "expected_s"),
    [
        pytest.param(Exponential(), 1, 1.0, id="the first delay is the base"),
        pytest.param(Exponential(), 2, 2.0, id="each delivery multiplies it by the factor"),
        pytest.param(Exponential(), 5, 16.0, id="and again"),
        pytest.param(Exponential(), 10, 512.0, id="up to the ceiling"),
        pytest.param(Exponential(), 11, 900.0, id="which it never exceeds"),
        pytest.param(Exponential(1, 1.5, 60), 3, 2.25, id="a fractional factor is not cut to a whole one"),
        pytest.param(Exponential(7, 1, 60), 9, 7.0, id="a factor of one is a constant delay"),
        pytest.param(Exponential(), 65535, 900.0, id="the largest count on the wire does not overflow"),
        pytest.param(Exponential(1, 2, 900), 65535, 900, id="nor do whole numbers"),
        pytest.param(Exponential(0.5, 10, 900), 400, 900, id="nor do whole numbers with a fraction as base"),
        pytest.param(
            Exponential(1, 1.001, 3600), 1001, 1.001**1000, id="slow growth goes on for 1000 deliveries"
        ),
        pytest.param(Exponential(1, 1.001, 3600), 65535, 1.001**1000, id="and ends there"),
    ],
)
def test_the_delay_grows_by_the_factor_up_to_the_ceiling(
    backoff: Exponential, attempts: int, expected_s: float
) -> None:
    assert backoff.ceiling_s(attempts) == expected_s


@pytest.mark.parametrize(
    ("jitter", "draw", "expected_s"),
    [
        pytest.param("none", 0.9, 8.0, id="without jitter the delay is exact"),
        pytest.param("additive", 0.0, 8.0, id="additive jitter begins at the delay"),
        pytest.param("additive", 0.5, 9.0, id="and lengthens it by up to a quarter"),
        pytest.param("full", 0.0, 0.0, id="full jitter begins at nothing"),
        pytest.param("full", 0.5, 4.0, id="and is the draw's share of the delay"),
    ],
)
def test_jitter_places_the_draw(jitter: Jitter, draw: float, expected_s: float) -> None:
    assert Exponential(1, 2, 900, jitter).delay_s(4, draw=draw) == expected_s


def test_jitter_is_additive_unless_told_otherwise() -> None:
    assert Exponential() == Exponential(base_s=1.0, factor=2.0, max_s=900.0, jitter="additive")


@given(backoffs(), ATTEMPTS)
def test_a_delay_is_between_base_and_ceiling(backoff: Exponential, attempts: int) -> None:
    assert backoff.base_s <= backoff.ceiling_s(attempts) <= backoff.max_s


@given(backoffs(), st.integers(2, 3000))
def test_a_schedule_never_shrinks(backoff: Exponential, attempts: int) -> None:
    assert backoff.ceiling_s(attempts - 1) <= backoff.ceiling_s(attempts)


@given(backoffs("additive"), ATTEMPTS, DRAWS)
def test_additive_jitter_never_shortens_a_delay(backoff: Exponential, attempts: int, draw: float) -> None:
    ceiling_s = backoff.ceiling_s(attempts)
    assert ceiling_s <= backoff.delay_s(attempts, draw=draw) <= ceiling_s * (1 + ADDITIVE_SHARE)


@given(backoffs("full"), ATTEMPTS, DRAWS)
def test_full_jitter_is_within_the_delay(backoff: Exponential, attempts: int, draw: float) -> None:
    assert 0 <= backoff.delay_s(attempts, draw=draw) < backoff.ceiling_s(attempts)


@given(backoffs(), ATTEMPTS, DRAWS, DRAWS)
def test_a_larger_draw_never_waits_less(
    backoff: Exponential, attempts: int, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    assert backoff.delay_s(attempts, draw=less) <= backoff.delay_s(attempts, draw=more)


@pytest.mark.parametrize("attempts", [0, -1])
def test_deliveries_are_counted_from_one(attempts: int) -> None:
    with pytest.raises(ValueError, match=rf"^attempts={attempts}: must be 1 or more$"):
        Exponential().ceiling_s(attempts)
    with pytest.raises(ValueError, match=rf"^attempts={attempts}: must be 1 or more$"):
        Exponential().delay_s(attempts, draw=0.0)


@pytest.mark.parametrize("draw", [-0.1, 1.0, math.nan])
@pytest.mark.parametrize("jitter", ["additive", "full", "none"])
def test_a_draw_outside_of_its_range_is_refused(jitter: Jitter, draw: float) -> None:
    with pytest.raises(ValueError, match=rf"^draw={draw} is not in \[0, 1\)$"):
        Exponential(jitter=jitter).delay_s(1, draw=draw)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"base_s": 1e-9}, id="the least base above 0"),
        pytest.param({"base_s": 3600, "max_s": 3600}, id="nsqd's hour"),
        pytest.param({"factor": 1}, id="no growth"),
        pytest.param({"base_s": 30, "max_s": 30}, id="a ceiling at the base"),
        pytest.param({"factor": math.inf}, id="growth to the ceiling at once"),
    ],
)
def test_a_backoff_that_can_be_meant_is_accepted(values: dict[str, Any]) -> None:
    backoff = Exponential(**values)
    assert backoff.base_s <= backoff.ceiling_s(2) <= backoff.max_s


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        pytest.param({"base_s": 0}, ValueError, "Exponential(base_s=0): must be above 0", id="no base"),
        pytest.param(
            {"base_s": -1.5}, ValueError, "Exponential(base_s=-1.5): must be above 0", id="a negative base"
        ),
        pytest.param(
            {"base_s": math.nan}, ValueError, "Exponential(base_s=nan): must be above 0", id="a base of nan"
        ),
        pytest.param(
            {"base_s": 3601},
            ValueError,
            "Exponential(base_s=3601): must be 3600 or less",
            id="a base that nsqd would cut",
        ),
        pytest.param(
            {"base_s": "1"}, TypeError, "Exponential(base_s='1'): give a number", id="a text as base"
        ),
        pytest.param(
            {"base_s": True}, TypeError, "Exponential(base_s=True): give a number", id="a boolean as base"
        ),
        pytest.param(
            {"base_s": None}, TypeError, "Exponential(base_s=None): give a number", id="nothing as base"
        ),
        pytest.param(
            {"factor": 0.99},
            ValueError,
            "Exponential(factor=0.99): must be 1 or more",
            id="a factor that shrinks",
        ),
        pytest.param(
            {"factor": math.nan},
            ValueError,
            "Exponential(factor=nan): must be 1 or more",
            id="a factor of nan",
        ),
        pytest.param(
            {"factor": "2"}, TypeError, "Exponential(factor='2'): give a number", id="a text as factor"
        ),
        pytest.param(
            {"base_s": 5, "max_s": 4.5},
            ValueError,
            "Exponential(max_s=4.5): must be 5 or more",
            id="a ceiling below the base",
        ),
        pytest.param(
            {"max_s": 3600.5},
            ValueError,
            "Exponential(max_s=3600.5): must be 3600 or less",
            id="a ceiling that nsqd would cut",
        ),
        pytest.param(
            {"max_s": [1]}, TypeError, "Exponential(max_s=[1]): give a number", id="a list as ceiling"
        ),
        pytest.param(
            {"jitter": "half"},
            ValueError,
            "Exponential(jitter='half'): choose one of ('additive', 'full', 'none')",
            id="a jitter that does not exist",
        ),
    ],
)
def test_a_backoff_that_cannot_be_meant_is_refused(
    values: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        Exponential(**values)
    assert str(caught.value) == problem


def test_a_policy_is_eight_attempts_and_the_standard_backoff_unless_told_otherwise() -> None:
    assert RetryPolicy() == RetryPolicy(max_attempts=8, backoff=Exponential(), on={})


@pytest.mark.parametrize("max_attempts", [1, 2, MAX_ATTEMPTS])
def test_a_number_of_attempts_that_nsq_can_count_is_accepted(max_attempts: int) -> None:
    assert RetryPolicy(max_attempts).max_attempts == max_attempts


def test_the_last_countable_attempts_are_kept_for_deliveries_without_an_outcome() -> None:
    """NSQ counts attempts in 16 bits, and crash_suspect needs ten more than the policy."""
    assert MAX_ATTEMPTS == 2**16 - 1 - 10


@pytest.mark.parametrize(
    ("values", "error", "problem"),
    [
        pytest.param(
            {"max_attempts": 0}, ValueError, "RetryPolicy(max_attempts=0): not in 1..65525", id="none"
        ),
        pytest.param(
            {"max_attempts": 65526},
            ValueError,
            "RetryPolicy(max_attempts=65526): not in 1..65525",
            id="more than NSQ counts",
        ),
        pytest.param(
            {"max_attempts": 2.0},
            TypeError,
            "RetryPolicy(max_attempts=2.0): give a whole number",
            id="a fraction",
        ),
        pytest.param(
            {"max_attempts": True},
            TypeError,
            "RetryPolicy(max_attempts=True): give a whole number",
            id="a boolean",
        ),
        pytest.param(
            {"backoff": 5},
            TypeError,
            "RetryPolicy(backoff=5): give an Exponential(…)",
            id="a number as backoff",
        ),
        pytest.param(
            {"on": [(ValueError, Discard())]},
            TypeError,
            "RetryPolicy(on=[(<class 'ValueError'>, Discard(detail=''))]): "
            "give a mapping, {SomeError: DeadLetter(…)}",
            id="a list of rules",
        ),
        pytest.param(
            {"on": {"ValueError": Discard()}},
            TypeError,
            "RetryPolicy(on={'ValueError': …}): the key must be an exception class",
            id="an error by its name",
        ),
        pytest.param(
            {"on": {int: Discard()}},
            TypeError,
            "RetryPolicy(on={<class 'int'>: …}): the key must be an exception class",
            id="a class that is no exception",
        ),
        pytest.param(
            {"on": {KeyboardInterrupt: Discard()}},
            TypeError,
            "RetryPolicy(on={<class 'KeyboardInterrupt'>: …}): the key must be an exception class",
            id="an exception that stops the process",
        ),
        pytest.param(
            {"on": {ValueError: Discard}},
            TypeError,
            "RetryPolicy(on={ValueError: <class 'nsqkit.policy.outcome.Discard'>}): "
            "the value must be an outcome: Finish(), Requeue(…), DeadLetter(…), Discard(…) or Pause(…)",
            id="an outcome's class",
        ),
        pytest.param(
            {"on": {OSError: Discard(), ValueError: None}},
            TypeError,
            "RetryPolicy(on={ValueError: None}): the value must be an outcome: "
            "Finish(), Requeue(…), DeadLetter(…), Discard(…) or Pause(…)",
            id="nothing, in the second rule",
        ),
        pytest.param(
            {"on": {ValueError: Requeue(3600.5)}},
            ValueError,
            "RetryPolicy(on={ValueError: Requeue(delay_s=3600.5)}): the longest delay is 3600 s",
            id="a requeue that nsqd would cut",
        ),
        pytest.param(
            {"on": {ValueError: Pause(3601)}},
            ValueError,
            "RetryPolicy(on={ValueError: Pause(for_s=3601)}): the longest delay is 3600 s",
            id="a pause that nsqd would cut",
        ),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    values: dict[str, Any], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        RetryPolicy(**values)
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "outcome",
    [Finish(), Requeue(), Requeue(3600), Requeue(0.5), DeadLetter("x"), Discard("x"), Pause(3600)],
    ids=repr,
)
def test_a_rule_may_be_any_outcome(outcome: Outcome) -> None:
    assert RetryPolicy(on={ValueError: outcome}).outcome_for(ValueError()) == outcome


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(DailyQuotaError(), Pause(60), id="the first rule that matches wins"),
        pytest.param(QuotaError(), Pause(60), id="a class matches itself"),
        pytest.param(KeyError(), DeadLetter("no such thing"), id="and what derives from it"),
        pytest.param(HandlerTimeoutError(30), Requeue(5), id="a timeout matches TimeoutError"),
        pytest.param(ConnectionError(), None, id="what no rule matches is left to the backoff"),
        pytest.param(
            ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [KeyError()])]),
            DeadLetter("no such thing"),
            id="an error in a group matches, however deep",
        ),
        pytest.param(
            ExceptionGroup("g", [TimeoutError(), KeyError()]),
            DeadLetter("no such thing"),
            id="the rules decide which, not the group",
        ),
    ],
)
def test_the_first_matching_rule_wins(error: Exception, expected: Outcome | None) -> None:
    policy = RetryPolicy(
        on={
            QuotaError: Pause(60),
            DailyQuotaError: Discard("never reached"),
            LookupError: DeadLetter("no such thing"),
            TimeoutError: Requeue(5),
        },
    )
    assert policy.outcome_for(error) == expected


def test_a_policy_keeps_its_rules_whatever_becomes_of_the_mapping() -> None:
    rules: dict[type[Exception], Outcome] = {ValueError: Discard()}
    policy = RetryPolicy(on=rules)
    rules[OSError] = Finish()
    assert policy.on == {ValueError: Discard()}
    with pytest.raises(TypeError):
        policy.on[OSError] = Finish()  # type: ignore[index]
    with pytest.raises(TypeError):
        RetryPolicy().on[OSError] = Finish()  # type: ignore[index]


def test_a_policy_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RetryPolicy().max_attempts = 9  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Exponential().base_s = 9  # type: ignore[misc]


@pytest.mark.parametrize(
    ("policy", "expected_s"),
    [
        pytest.param(RetryPolicy(4), (1, 2, 4), id="one delay fewer than attempts"),
        pytest.param(RetryPolicy(1), (), id="a single attempt has no delay"),
        pytest.param(RetryPolicy(5, Exponential(5, 3, 20)), (5, 15, 20, 20), id="up to the ceiling"),
        pytest.param(RetryPolicy(3, Exponential(5, 3, 20, "full")), (5, 15), id="without jitter"),
    ],
)
def test_a_schedule_is_the_delays_between_deliveries(
    policy: RetryPolicy, expected_s: tuple[float, ...]
) -> None:
    assert policy.schedule_s() == expected_s


@given(backoffs(), st.integers(1, 200))
def test_a_schedule_has_a_delay_for_every_delivery_but_the_last(backoff: Exponential, attempts: int) -> None:
    schedule = RetryPolicy(attempts, backoff).schedule_s()
    assert len(schedule) == attempts - 1
    assert all(less <= more for less, more in pairwise(schedule))


@pytest.mark.parametrize(
    ("policy", "expected_s"),
    [
        pytest.param(RetryPolicy(4), 4, id="the last delay of the schedule"),
        pytest.param(RetryPolicy(2), 1, id="also of a schedule of one"),
        pytest.param(RetryPolicy(1), 0, id="nothing where nothing is retried"),
        pytest.param(RetryPolicy(4, on={OSError: Requeue(5)}), 5, id="a longer requeue of a rule"),
        pytest.param(
            RetryPolicy(4, on={OSError: Requeue(60), ValueError: Pause(90.5)}), 90.5, id="a longer pause"
        ),
        pytest.param(RetryPolicy(4, on={OSError: Requeue(3)}), 4, id="a shorter rule does not count"),
        pytest.param(RetryPolicy(1, on={OSError: Requeue()}), 0, id="a requeue by the backoff adds nothing"),
        pytest.param(RetryPolicy(1, on={OSError: DeadLetter()}), 0, id="nor does what is not requeued"),
    ],
)
def test_the_longest_delay_is_of_the_schedule_or_of_a_rule(policy: RetryPolicy, expected_s: float) -> None:
    assert policy.longest_s() == expected_s
