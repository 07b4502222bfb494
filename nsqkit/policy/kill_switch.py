"""Kill switches: pause a handler's intake while too many of its messages fail, and try it again later."""

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

from nsqkit.policy.argument import require_errors, require_number, require_whole
from nsqkit.policy.leaves import leaves

SLICES = 16
"""Number of slices in a window. An outcome counts for window_s, or up to one slice less."""
MAX_WINDOW_S = 86400.0
_MAX_COUNT = 1_000_000


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """Configuration of a kill switch: it pauses a handler's intake while too many of its calls fail.

    The switch opens once at least *min_messages* calls ended within *window_s* and at least *failure_ratio*
    of them failed. After *open_s* it is half-open: messages are tried one by one, and the first failure opens
    it again for twice the time.

    Args:
        failure_ratio: Share of failed calls that opens the switch; above 0, at most 1.
        min_messages: Least number of calls before the share counts; 1 to 1000000.
        window_s: Seconds over which calls are counted, in steps of a sixteenth; above 0, at most 86400.
        open_s: Seconds for which the switch is open the first time; above 0, at most 86400.
        max_open_s: Upper limit of the doubled time; open_s to 86400 seconds.
        trials: Consecutive successes that close a half-open switch; 1 to 1000000.
        include: Exception types that count as failures.
        exclude: Subtypes of these that do not count, because the message is at fault.

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
        """Return whether a call that raised *error* (None for no error) counts as a failure.

        An exception group counts if one of the errors in it does.
        """
        found = () if error is None else leaves(error)
        return any(isinstance(each, self.include) and not isinstance(each, self.exclude) for each in found)


class SwitchState(StrEnum):
    """State of a kill switch: messages are handled, refused, or tried one by one."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Switch:
    """The state machine of one handler's kill switch; it counts the results of the handler's calls.

    Args:
        policy: When the switch opens, and for how long.

    Attributes:
        state: Current state; :meth:`half_open` ends the open state.
        open_for_s: Length of the current open time, or of the next one, in seconds.
        trials_left: Successes still needed to close a half-open switch; 0 in the other states.
    """

    def __init__(self, policy: KillSwitch) -> None:
        self._policy = policy
        self._window = _Window(policy.window_s)
        self.state = SwitchState.CLOSED
        self.open_for_s = policy.open_s
        self.trials_left = 0

    def record(self, failed: bool, *, now_s: float) -> SwitchState | None:  # noqa: FBT001 - the only fact it records
        """Record the result of one call.

        Results while the switch is open do not count: those calls began before it opened.

        Args:
            failed: Whether the call counts as a failure; see :meth:`KillSwitch.blames`.
            now_s: When the call ended, in seconds of a monotonic clock.

        Returns:
            The new state, or None if the state did not change.
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
        """Allow trials after ``open_for_s``; has no effect unless the switch is open."""
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
    """Counts of ended and failed calls over a sliding time window, in at most SLICES slices."""

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
