"""Worker source: one worker as the monitor reads it, in its own process."""

from collections.abc import Callable

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.monitor.failure_log import FailureLog
from nsqkit.monitor.look import Json, Look
from nsqkit.monitor.sagas import Sagas


class WorkerSource:
    """The handlers, failures and sagas of this process.

    Args:
        states: Returns the present states of the handlers.
        failures: Their failures.
        sagas: The sagas among them.
    """

    def __init__(
        self, states: Callable[[], tuple[HandlerState, ...]], failures: FailureLog, sagas: Sagas
    ) -> None:
        self._states = states
        self._failures = failures
        self._sagas = sagas

    def reason_of(self, name: str) -> IntakeState | None:
        """Return why the intake of a handler is paused; None if it is not."""
        state = next((each.state for each in self._states() if each.name == name), None)
        return None if state is IntakeState.RUNNING else state

    async def look(self) -> Look:
        """Return the present states and errors, and what was last read of sagas."""
        return Look(self._states(), self._failures.recent(), sagas=await self._sagas.shown())

    async def errors(self, name: str) -> list[Json]:
        """Return the errors of a handler with examples, the most frequent first."""
        return self._failures.errors(name)

    async def timeline(self, saga: str, key: str) -> Json | None:
        """Return the timeline of an instance of a saga, or why it cannot be read; None if there is none."""
        return await self._sagas.timeline(saga, key)
