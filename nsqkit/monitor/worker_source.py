"""Worker source: one worker as the monitor reads it, in its own process."""

from collections.abc import Callable

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.monitor.failure_log import FailureLog
from nsqkit.monitor.look import Json, Look


class WorkerSource:
    """The handlers and failures of this process.

    Args:
        states: Returns the present states of the handlers.
        failures: Their failures.
    """

    def __init__(self, states: Callable[[], tuple[HandlerState, ...]], failures: FailureLog) -> None:
        self._states = states
        self._failures = failures

    def reason_of(self, name: str) -> IntakeState | None:
        """Return why the intake of a handler is paused; None if it is not."""
        state = next((each.state for each in self._states() if each.name == name), None)
        return None if state is IntakeState.RUNNING else state

    async def look(self) -> Look:
        """Return the present states and errors."""
        return Look(self._states(), self._failures.recent())

    async def errors(self, name: str) -> list[Json]:
        """Return the errors of a handler with examples, the most frequent first."""
        return self._failures.errors(name)
