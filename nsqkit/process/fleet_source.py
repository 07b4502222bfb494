"""Fleet source: all child workers as the monitor reads them. It asks them only while somebody looks."""

import asyncio
from collections.abc import Iterable
from typing import Any

from nsqkit.admin import IntakeState
from nsqkit.monitor.look import Json, Look, RecentErrors, WorkerShown, joined_errors, joined_recent
from nsqkit.process.fleet import Fleet, numbered
from nsqkit.telemetry.metrics import Labels


class FleetSource:
    """The handlers and failures of all children.

    Args:
        fleet: The children.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def reason_of(self, name: str) -> IntakeState | None:
        """Return whether an operator has paused a handler; the parent knows no other reason."""
        return IntakeState.PAUSED if self._fleet.is_paused(name) else None

    async def look(self) -> Look:
        """Return the present states and errors; of a child that does not answer, the reason is shown.

        One child reads the databases of sagas for all.
        """
        states, answers, sagas = await asyncio.gather(
            self._fleet.states(), self._fleet.ask_each("recent_errors"), self._fleet.ask_first("sagas")
        )
        return Look(
            numbered(states),
            _joined(answer for _, answer in answers),
            [WorkerShown(number, next(iter(state.problems), "")) for number, state in enumerate(states, 1)],
            sagas,
        )

    async def errors(self, name: str) -> list[Json]:
        """Return the errors of a handler with examples, the most frequent first."""
        return joined_errors(await self._fleet.ask_each("errors", name=name))

    async def timeline(self, saga: str, key: str) -> Json | None:
        """Return the timeline of an instance of a saga, from one of the children; None if there is none."""
        answer: Json | None = await self._fleet.ask_first("timeline", saga=saga, key=key)
        return answer


def _joined(answers: Iterable[Any]) -> dict[Labels, list[RecentErrors]]:
    """Return the recent errors of each handler in all children."""
    parts: dict[Labels, list[list[RecentErrors]]] = {}
    for labels, errors in (each for answer in answers for each in answer):
        parts.setdefault(tuple(labels), []).append([RecentErrors(*each) for each in errors])
    return {labels: joined_recent(errors) for labels, errors in parts.items()}
