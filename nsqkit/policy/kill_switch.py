"""Kill switches: when a handler fails so often that its intake stops, and when it is tried again."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from nsqkit.policy.argument import require_errors, require_number, require_whole

SLICES = 16
"""A window is counted in so many slices: an outcome counts for window_s, less one slice at most."""
MAX_WINDOW_S = 86400.0
_MAX_COUNT = 1_000_000


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """When a handler's intake stops because too many of its calls fail, and for how long.

    It opens once at least *min_messages* calls ended within *window_s* and at least *failure_ratio* of them
    failed. After *open_s* it is half-open: a few messages are tried, and the first failure opens it again
    for twice as long.

    Args:
        failure_ratio: Share of calls that fail; above 0, at most 1.
        min_messages: Calls that must have ended before it may open; 1 to 1000000.
        window_s: Seconds over which calls are counted; above 0, at most 86400. Kept in sixteenths.
        open_s: Seconds for which it is open at first; above 0, at most 86400.
        max_open_s: Longest time that doubling leads to; open_s to 86400 seconds.
        trials: Messages that must succeed one after the other until it closes; 1 to 1000000.
        include: Exception types that count as failures.
        exclude: Those of them that do not, because they tell of a message and not of a fault.

    Raises:
        ValueError: If a value is out of its range.
        TypeError: If a value is of the wrong type.
    """

    failure_ratio: float = 0.5
    min_messages: int = 20
    window_s: float = 60.0
    open_s: float = 30.0
    max_open_s: float = 900.0
    trials: int = 1
    include: tuple[type[Exception], ...] = (Exception,)
    exclude: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        require_number("KillSwitch", "failure_ratio", self.failure_ratio, above=0.0, most=1.0)
        require_whole("KillSwitch", "min_messages", self.min_messages, 1, _MAX_COUNT)
        require_number("KillSwitch", "window_s", self.window_s, above=0.0, most=MAX_WINDOW_S)
        require_number("KillSwitch", "open_s", self.open_s, above=0.0, most=MAX_WINDOW_S)
        require_number("KillSwitch", "max_open_s", self.max_open_s, least=self.open_s, most=MAX_WINDOW_S)
        require_whole("KillSwitch", "trials", self.trials, 1, _MAX_COUNT)
        require_errors("KillSwitch", "include", self.include)
        require_errors("KillSwitch", "exclude", self.exclude)

    def blames(self, error: BaseException | None) -> bool:
        """Return whether a call that raised this, or None for nothing, counts as a failure."""
        return isinstance(error, self.include) and not isinstance(error, self.exclude)


class SwitchState(StrEnum):
    """Whether a handler's messages are taken, refused, or tried one by one."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Switch:
    """One handler's kill switch, which learns how its calls end.

    Args:
        policy: When it opens, and for how long.

    Attributes:
        state: What it is now.
        open_for_s: How long the present opening lasts, or the next one would; seconds.
        trials_left: Successes still needed in half-open until it closes; else 0.
    """

    def __init__(self, policy: KillSwitch) -> None:
        self._policy = policy
        self._window = _Window(policy.window_s)
        self.state = SwitchState.CLOSED
        self.open_for_s = policy.open_s
        self.trials_left = 0

    def record(self, failed: bool, *, now_s: float) -> SwitchState | None:  # noqa: FBT001 - the one thing it is told
        """Take in how one call ended.

        While it is open nothing counts: those calls began before.

        Args:
            failed: Whether the handler is to blame.
            now_s: When it ended, on a monotonic clock.

        Returns:
            The state that this led to, or None if it is as before.
        """
        match self.state:
            case SwitchState.CLOSED:
                self._window.add(failed, now_s=now_s)
                return self._open() if self._is_failing else None
            case SwitchState.HALF_OPEN:
                return self._tried(failed)
            case SwitchState.OPEN:  # pragma: no branch - mypy proves that there is no other
                return None

    def half_open(self) -> None:
        """Let it be tried, once it has been open for ``open_for_s``; changes nothing unless it is open."""
        if self.state is SwitchState.OPEN:
            self.state = SwitchState.HALF_OPEN
            self.trials_left = self._policy.trials

    @property
    def _is_failing(self) -> bool:
        ended = self._window.ended
        if ended < self._policy.min_messages:
            return False
        return self._window.failed / ended >= self._policy.failure_ratio

    def _tried(self, failed: bool) -> SwitchState | None:  # noqa: FBT001
        if failed:
            self.open_for_s = min(2 * self.open_for_s, self._policy.max_open_s)
            return self._open()
        self.trials_left -= 1
        if self.trials_left:
            return None
        self.open_for_s = self._policy.open_s
        self.state = SwitchState.CLOSED
        return self.state

    def _open(self) -> SwitchState:
        self._window.clear()
        self.trials_left = 0
        self.state = SwitchState.OPEN
        return self.state


class _Window:
    """How many calls ended, and failed, in the last seconds; at most SLICES counts are kept."""

    def __init__(self, window_s: float) -> None:
        self._slice_s = window_s / SLICES
        self._slices: deque[list[int]] = deque()  # number of the slice, ended, failed
        self.clear()

    def clear(self) -> None:
        self._slices.clear()
        self.ended = self.failed = 0

    def add(self, failed: bool, *, now_s: float) -> None:  # noqa: FBT001
        number = int(now_s // self._slice_s)
        while self._slices and self._slices[0][0] <= number - SLICES:
            _, ended, failures = self._slices.popleft()
            self.ended -= ended
            self.failed -= failures
        if not self._slices or self._slices[-1][0] < number:
            self._slices.append([number, 0, 0])
        self._slices[-1][1] += 1
        self._slices[-1][2] += failed
        self.ended += 1
        self.failed += failed
