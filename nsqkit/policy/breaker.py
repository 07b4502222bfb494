"""Circuit breakers: stop calls to a dependency that keeps failing, and try it again later."""

from dataclasses import dataclass
from enum import StrEnum

from nsqkit.policy.argument import require_number, require_whole

BUSY_RATIO = 0.1
"""A call that is refused while all trials run may be retried after this share of open_s."""
MAX_OPEN_S = 3600.0
_MAX_COUNT = 1_000_000


class BreakerState(StrEnum):
    """State of a breaker: calls are made, refused, or tried a few at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Configuration of a breaker: when it opens, for how long, and how many trial calls it admits.

    Args:
        failures: Consecutive failures that open the breaker; 1 to 1000000.
        open_s: Seconds for which an open breaker refuses all calls; above 0, at most 3600.
        trials: Concurrent calls admitted while half-open; 1 to 1000000.

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
    """The state machine of one dependency's breaker: admits calls and records their results.

    Every admitted call gets a ticket and hands it back with its result. A ticket from an earlier state has no
    effect: a call that began before the breaker opened neither closes it nor opens it again. A trial without
    a result after ``open_s`` makes room for another.

    Args:
        policy: When the breaker opens, for how long, and how many trials it admits.
    """

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._state = BreakerState.CLOSED
        self._ticket = 0
        self._failures = 0
        self._trials = 0
        self._since_s = 0.0

    def state(self, *, now_s: float) -> BreakerState:
        """Return the state: an open breaker is half-open after ``open_s``, even before the next call."""
        is_over = self._state is BreakerState.OPEN and now_s >= self._since_s + self._policy.open_s
        return BreakerState.HALF_OPEN if is_over else self._state

    def admit(self, *, now_s: float) -> int | None:
        """Admit or refuse a call.

        Args:
            now_s: Current time of a monotonic clock, in seconds.

        Returns:
            The call's ticket, to pass back with its result; None if the call is refused.
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
        """Return the seconds after which to retry a refused call; 0 or more, and 0 while closed."""
        match self._state:
            case BreakerState.CLOSED:
                return 0.0
            case BreakerState.OPEN:
                return max(0.0, self._since_s + self._policy.open_s - now_s)
            case BreakerState.HALF_OPEN:  # pragma: no branch - mypy proves that there is no other
                return self._policy.open_s * BUSY_RATIO

    def succeeded(self, ticket: int, *, now_s: float) -> None:
        """Record the success of an admitted call; while half-open it closes the breaker."""
        if ticket != self._ticket:
            return
        self._failures = 0
        if self._state is BreakerState.HALF_OPEN:
            self._enter(BreakerState.CLOSED, now_s)

    def failed(self, ticket: int, *, now_s: float) -> bool:
        """Record the failure of an admitted call; while half-open it opens the breaker again.

        Returns:
            Whether nobody knew of an outage: the breaker has been closed since the call began.
        """
        if ticket != self._ticket:
            return False
        was_closed = self._state is BreakerState.CLOSED
        self._failures += 1
        if not was_closed or self._failures >= self._policy.failures:
            self._enter(BreakerState.OPEN, now_s)
        return was_closed

    def abandoned(self, ticket: int) -> None:
        """Record that an admitted call ended without a result; a trial makes room for another."""
        if ticket == self._ticket:
            self._trials = max(0, self._trials - 1)

    def _enter(self, state: BreakerState, now_s: float) -> None:
        self._state = state
        self._since_s = now_s
        self._ticket += 1
        self._failures = self._trials = 0
