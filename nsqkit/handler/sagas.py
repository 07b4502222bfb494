"""Sagas: how a worker reads the instances of its sagas for people. It knows no database, changes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from nsqkit.settings.settings import Settings


class Moment(NamedTuple):
    """One line of a timeline.

    Args:
        at_s: When it happened, seconds since 1970 UTC.
        text: What happened.
    """

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class SagaInstance:
    """One instance, without its state.

    Args:
        saga: Name of the saga.
        key: Identifies it in its saga.
        version: Version of its steps.
        status: Its state, such as ``running``.
        step: The action that it is at, such as ``charge`` or ``reserve/undo``; empty once it is done.
        attempts: How often that action was started; 0 or more.
        reason: Why it is compensated, or needs attention; empty otherwise.
        started_at: When it started, seconds since 1970 UTC.
        changed_at: When it changed last, seconds since 1970 UTC.
        due_at: When something happens without an answer, seconds since 1970 UTC; None for never.
    """

    saga: str
    key: str
    version: int
    status: str
    step: str
    attempts: int
    reason: str
    started_at: float
    changed_at: float
    due_at: float | None


@dataclass(frozen=True, slots=True)
class SagaOverview:
    """The instances of some sagas.

    Args:
        counts: Their number by status, by the name of the saga; one at ``most`` may be higher.
        most: The highest number that is counted.
        instances: Those that need attention, then the open ones; of each, those that changed last, first.
    """

    counts: Mapping[str, Mapping[str, int]]
    most: int
    instances: Sequence[SagaInstance]


@dataclass(frozen=True, slots=True)
class SagaTimeline:
    """What has happened to one instance.

    Args:
        instance: How far it is.
        correlation_id: ``correlationid`` of its commands and their replies.
        moments: The lines of its timeline, oldest first.
    """

    instance: SagaInstance
    correlation_id: str
    moments: Sequence[Moment]


class SagaReader(Protocol):
    """Reads the sagas of one database; equal readers read the same one. Each call blocks its thread."""

    @property
    def database(self) -> str:
        """Name of the database."""
        ...

    def overview(self, sagas: Sequence[type[Any]], settings: Settings) -> SagaOverview:
        """Return the numbers of instances, and a bounded number of them.

        Args:
            sagas: The classes of the sagas.
            settings: The URL of the database.

        Raises:
            NsqkitError: If the database cannot be read.
        """
        ...

    def timeline(
        self, sagas: Sequence[type[Any]], saga: str, key: str, settings: Settings
    ) -> SagaTimeline | None:
        """Return the timeline of an instance; None if there is none, or no such saga.

        Args:
            sagas: The classes of the sagas.
            saga: Name of the saga.
            key: Key of the instance.
            settings: The URL of the database.

        Raises:
            NsqkitError: If the database cannot be read.
        """
        ...
