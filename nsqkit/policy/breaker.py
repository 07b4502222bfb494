"""Breakers: when a dependency that keeps failing is not called, and when it is tried again."""

from dataclasses import dataclass
from enum import StrEnum

from nsqkit.policy.argument import require_number, require_whole

BUSY_RATIO = 0.1
"""While all trials run, the next call is told to come back after this share of open_s."""
MAX_OPEN_S = 3600.0
_MAX_COUNT = 1_000_000


class BreakerState(StrEnum):
    """Whether calls to a dependency are made, refused, or tried a few at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and how it is tried.

    Args:
        failures: Calls that must fail one after the other; 1 to 1000000.
        open_s: Seconds for which no call is made then; above 0, at most 3600.
        trials: Calls that are let through at a time in half-open; 1 to 1000000.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is of the wrong type.
    """

    failures: int = 5
    open_s: float = 30.0
    trials: int = 1

    def __post_init__(self) -> None:
        require_whole("Breaker", "failures", self.failures, 1, _MAX_COUNT)
        require_number("Breaker", "open_s", self.open_s, above=0.0, most=MAX_OPEN_S)
        require_whole("Breaker", "trials", self.trials, 1, _MAX_COUNT)


class Circuit:
    """One dependency's breaker: it admits calls, and learns how they end.

    Every admitted call has a ticket, which it gives back when it ends. A ticket of an earlier state changes
    nothing: a call that began before it opened does not close it, nor open it again. A trial that has not
    come back after ``open_s`` makes room for another.

    Args:
        policy: When it opens, and how it is tried.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._state = BreakerState.CLOSED
        self._ticket = 0
        self._failures = 0
        self._trials = 0
        self._since_s = 0.0

    def state(self, *, now_s: float) -> BreakerState:
        """Return what it is now; open for too long is half-open, though nobody has called yet."""
        is_over = self._state is BreakerState.OPEN and now_s >= self._since_s + self._policy.open_s
        return BreakerState.HALF_OPEN if is_over else self._state

    def admit(self, *, now_s: float) -> int | None:
        """Let a call through, or refuse it.

        Args:
            now_s: Now, on a monotonic clock.

        Returns:
            Its ticket; None if it must not be made.
        """
        if self._state is BreakerState.CLOSED:
            return self._ticket
        if self._state is BreakerState.OPEN:
            if self.remaining_s(now_s=now_s) > 0:
                return None
            self._enter(BreakerState.HALF_OPEN, now_s)
        elif now_s >= self._since_s + self._policy.open_s:
            self._trials = 0
            self._since_s = now_s
        if self._trials >= self._policy.trials:
            return None
        self._trials += 1
        return self._ticket

    def remaining_s(self, *, now_s: float) -> float:
        """Return when a call that is refused should come back; seconds, 0 or more, 0 while it is closed."""
        match self._state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                return max(0.0, self._since_s + self._policy.open_s - now_s)
            case BreakerState.HALF_OPEN:  # pragma: no branch - mypy proves that there is no other
                return self._policy.open_s * BUSY_RATIO

    def succeeded(self, ticket: int, *, now_s: float) -> None:
        """Take in that an admitted call succeeded; in half-open that closes it."""
        if ticket != self._ticket:
            return
        self._failures = 0
        if self._state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.CLOSED, now_s)

    def failed(self, ticket: int, *, now_s: float) -> None:
        """Take in that an admitted call failed; in half-open that opens it again."""
        if ticket != self._ticket:
            return
        self._failures += 1
        if self._state is BreakerState.HALF_OPEN or self._failures >= self._policy.failures:
            self._enter(BreakerState.OPEN, now_s)

    def abandoned(self, ticket: int) -> None:
        """Take in that an admitted call ended without telling anything; a trial makes room for another."""
        if ticket == self._ticket:
            self._trials = max(0, self._trials - 1)

    def _enter(self, state: BreakerState, now_s: float) -> None:
        self._state = state
        self._since_s = now_s
        self._ticket += 1
        self._failures = self._trials = 0
