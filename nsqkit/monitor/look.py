"""Look: what the monitor reads while somebody looks, of one worker or of several. It keeps no history."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from nsqkit.admin import HandlerState, IntakeState
from nsqkit.monitor.failures import MOST_EXAMPLES, MOST_GROUPS
from nsqkit.policy.diagnosis import ErrorGroup
from nsqkit.telemetry.metrics import Labels

Json = dict[str, Any]


class RecentErrors(NamedTuple):
    """Errors of one handler, of one type and at one line.

    Args:
        error_type: Name of the exception's type.
        place: ``folder/file:line`` of the team's code; empty if it is not known.
        m1: Their number in the last minute.
        m5: Their number in the last 5 minutes.
    """

    error_type: str
    place: str
    m1: int
    m5: int

    @property
    def minute(self) -> ErrorGroup:
        """Those of the last minute, as a rule reads them."""
        return ErrorGroup(self.error_type, self.place, self.m1)

    @property
    def five_minutes(self) -> ErrorGroup:
        """Those of the last 5 minutes, as a rule reads them."""
        return ErrorGroup(self.error_type, self.place, self.m5)


class WorkerShown(NamedTuple):
    """One of several workers.

    Args:
        number: Its number, from 1.
        problem: Why it is not ready, in one line; empty if it is.
    """

    number: int
    problem: str


@dataclass(frozen=True, slots=True)
class Look:
    """The present state of all handlers.

    Args:
        states: The state of every handler in every worker.
        errors: The recent errors of each handler, by its labels.
        workers: The workers; empty for the only one.
        sagas: The instances of their sagas; None if they have no saga.
    """

    states: Sequence[HandlerState]
    errors: Mapping[Labels, Sequence[RecentErrors]] = field(default_factory=dict)
    workers: Sequence[WorkerShown] = ()
    sagas: Json | None = None


class Source(Protocol):
    """The worker, or the workers, as the monitor reads them."""

    def reason_of(self, name: str) -> IntakeState | None:
        """Return why the intake of a handler is paused; None if it is not, or if that is not known."""
        ...

    async def look(self) -> Look:
        """Return the present states and errors; called once a second while somebody looks."""
        ...

    async def errors(self, name: str) -> list[Json]:
        """Return the errors of a handler with examples, the most frequent first."""
        ...

    async def timeline(self, saga: str, key: str) -> Json | None:
        """Return the timeline of an instance of a saga, or why it cannot be read; None if there is none."""
        ...


def by_labels(states: Iterable[HandlerState]) -> dict[Labels, list[HandlerState]]:
    """Return the states of each handler in all workers."""
    found: dict[Labels, list[HandlerState]] = {}
    for state in states:
        found.setdefault((state.topic, state.channel, state.name), []).append(state)
    return found


def joined_recent(parts: Iterable[Iterable[RecentErrors]]) -> list[RecentErrors]:
    """Return the recent errors of one handler in several workers."""
    found: dict[tuple[str, str], RecentErrors] = {}
    for each in (each for part in parts for each in part):
        key = (each.error_type, each.place)
        known = found.get(key)
        found[key] = each if known is None else RecentErrors(*key, known.m1 + each.m1, known.m5 + each.m5)
    return sorted(found.values(), key=lambda each: -each.m5)[:MOST_GROUPS]


def joined_errors(parts: Iterable[tuple[int, Iterable[Json]]]) -> list[Json]:
    """Return the errors of one handler in several workers, with the last examples of all of them.

    Args:
        parts: The number of each worker, and its errors.
    """
    found: dict[tuple[str, str], Json] = {}
    for number, errors in parts:
        for error in errors:
            examples = [{**each, "worker": number} for each in error["examples"]]
            key = (error["type"], error["place"])
            known = found.get(key)
            found[key] = {**error, "examples": examples} if known is None else _joined(known, error, examples)
    return sorted(found.values(), key=lambda error: -error["count"])[:MOST_GROUPS]


def _joined(known: Json, error: Json, examples: list[Json]) -> Json:
    newest = sorted([*known["examples"], *examples], key=itemgetter("at"), reverse=True)
    return {
        **known,
        "count": known["count"] + error["count"],
        "count_m1": known["count_m1"] + error["count_m1"],
        "first": min(known["first"], error["first"]),
        "last": max(known["last"], error["last"]),
        "examples": newest[:MOST_EXAMPLES],
    }
