"""Retry policies: limit attempts, compute the backoff, and map exceptions to outcomes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from nsqkit.policy.argument import require_number, require_whole
from nsqkit.policy.leaves import has
from nsqkit.policy.outcome import DeadLetter, Discard, Finish, Outcome, Pause, Requeue

Jitter = Literal["additive", "full", "none"]
MAX_ATTEMPTS = 65535 - 10
"""NSQ counts attempts in 16 bits; ten are reserved for deliveries without outcome."""
MAX_DELAY_S = 3600.0
"""nsqd's max-req-timeout, 1 h by default; the setting max_requeue_delay_s lowers the limit."""
ADDITIVE_SHARE = 0.25
_MAX_EXPONENT = 1000


@dataclass(frozen=True, slots=True)
class Exponential:
    """Exponential backoff: delays that grow by a factor with every delivery, up to a ceiling.

    Args:
        base_s: Delay after the first delivery; seconds above 0, at most 3600.
        factor: Growth per delivery, 1 or more.
        max_s: Ceiling in seconds, before additive jitter; base_s to 3600. It may not be above the setting
            ``max_requeue_delay_s``, or the handler does not load.
        jitter: ``"additive"`` lengthens a delay by up to a quarter and never shortens it, ``"full"`` draws
            from [0, delay), and ``"none"`` uses the delay as it is.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is not a number.
    """

    base_s: float = 1.0
    factor: float = 2.0
    max_s: float = 900.0
    jitter: Jitter = "additive"

    def __post_init__(self) -> None:
        require_number("Exponential", "base_s", self.base_s, above=0.0, most=MAX_DELAY_S)
        require_number("Exponential", "factor", self.factor, least=1.0)
        require_number("Exponential", "max_s", self.max_s, least=self.base_s, most=MAX_DELAY_S)
        if self.jitter not in get_args(Jitter):
            raise ValueError(f"Exponential(jitter={self.jitter!r}): choose one of {get_args(Jitter)}")

    def ceiling_s(self, attempts: int) -> float:
        """Return the delay after a delivery, without jitter, in seconds in [base_s, max_s].

        Args:
            attempts: Deliveries so far, this one included; 1 or more.

        Raises:
            ValueError: If *attempts* is below 1.
        """
        if attempts < 1:
            raise ValueError(f"attempts={attempts!r}: must be 1 or more")
        try:
            grown_s = self.base_s * self.factor ** min(attempts - 1, _MAX_EXPONENT)
        except OverflowError:
            return self.max_s
        return min(self.max_s, grown_s)

    def delay_s(self, attempts: int, *, draw: float) -> float:
        """Return how long to defer the next delivery, in seconds.

        Args:
            attempts: Deliveries so far, this one included; 1 or more.
            draw: A uniform number in [0, 1), supplied by the caller.

        Raises:
            ValueError: If *attempts* is below 1 or *draw* is outside [0, 1).
        """
        if not 0.0 <= draw < 1.0:
            raise ValueError(f"draw={draw!r} is not in [0, 1)")
        ceiling_s = self.ceiling_s(attempts)
        match self.jitter:
            case "none":
                return ceiling_s
            case "full":
                return ceiling_s * draw
            case "additive":  # pragma: no branch - mypy proves that there is no other
                return ceiling_s * (1.0 + ADDITIVE_SHARE * draw)


def _no_rules() -> Mapping[type[Exception], Outcome]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Rules for retrying a handler's failures.

    Args:
        max_attempts: Deliveries after which a failing message becomes a dead letter; 1 to 65525. NSQ counts
            every delivery, including those that a deploy or a crash interrupted.
        backoff: Delay before the next delivery of a failed message.
        on: Outcomes for certain exception types; the first match in order wins. An exception group matches
            by itself and by the errors in it. ``Requeue()`` without a delay uses the backoff.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is of the wrong type, or *on* does not map exception types to outcomes.
    """

    max_attempts: int = 8
    backoff: Exponential = field(default_factory=Exponential)
    on: Mapping[type[Exception], Outcome] = field(default_factory=_no_rules)

    def __post_init__(self) -> None:
        require_whole("RetryPolicy", "max_attempts", self.max_attempts, 1, MAX_ATTEMPTS)
        if not isinstance(self.backoff, Exponential):
            raise TypeError(f"RetryPolicy(backoff={self.backoff!r}): give an Exponential(…)")
        rules: object = self.on
        if not isinstance(rules, Mapping):
            raise TypeError(f"RetryPolicy(on={rules!r}): give a mapping, {{SomeError: DeadLetter(…)}}")
        for error, outcome in self.on.items():
            _check_rule(error, outcome)
        object.__setattr__(self, "on", MappingProxyType(dict(self.on)))

    def outcome_for(self, error: Exception) -> Outcome | None:
        """Return the outcome of the first rule in *on* that matches an error or a leaf of it; or None."""
        for error_type, outcome in self.on.items():
            if has(error, error_type):
                return outcome
        return None

    def retries(self, error: Exception) -> bool:
        """Return whether no rule gives an error a final outcome, so that the message is handled again."""
        return isinstance(self.outcome_for(error), Requeue | Pause | None)

    def schedule_s(self) -> tuple[float, ...]:
        """Return the delays between deliveries without jitter: max_attempts - 1 values, in seconds."""
        return tuple(self.backoff.ceiling_s(attempts) for attempts in range(1, self.max_attempts))

    def longest_s(self) -> float:
        """Return the longest delay in the schedule and the rules, in seconds, without jitter."""
        ruled_s = (_asked_delay_s(outcome) for outcome in self.on.values())
        return max((*self.schedule_s()[-1:], *ruled_s), default=0.0)


def _check_rule(error: object, outcome: object) -> None:
    if not (isinstance(error, type) and issubclass(error, Exception)):
        raise TypeError(f"RetryPolicy(on={{{error!r}: …}}): the key must be an exception class")
    if not isinstance(outcome, Finish | Requeue | DeadLetter | Discard | Pause):
        raise TypeError(
            f"RetryPolicy(on={{{error.__name__}: {outcome!r}}}): the value must be an outcome: "
            "Finish(), Requeue(…), DeadLetter(…), Discard(…) or Pause(…)",
        )
    delay_s = _asked_delay_s(outcome)
    if delay_s > MAX_DELAY_S:
        raise ValueError(
            f"RetryPolicy(on={{{error.__name__}: {outcome!r}}}): the longest delay is {MAX_DELAY_S:g} s",
        )


def _asked_delay_s(outcome: Outcome) -> float:
    match outcome:
        case Requeue(delay_s=float() | int() as delay_s):
            return delay_s
        case Pause(for_s=for_s):
            return for_s
        case _:
            return 0.0
