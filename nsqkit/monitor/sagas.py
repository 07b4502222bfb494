"""Sagas: what the page shows of the instances of a worker's sagas, as JSON; nothing is read unless asked."""

import asyncio
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from nsqkit.background import Background
from nsqkit.handler.group import HandlerGroup
from nsqkit.handler.sagas import SagaInstance, SagaReader, SagaTimeline
from nsqkit.monitor.look import Json
from nsqkit.monitor.saga_database import SagaDatabase
from nsqkit.policy.redaction import redact
from nsqkit.policy.saga_notes import kind_of
from nsqkit.policy.saga_terms import Status
from nsqkit.settings.settings import Settings

EVERY_S: Final = 5.0
"""Least time between two reads of the databases, in seconds."""
OLD_S: Final = 30.0
"""Age from which the page waits for new figures, in seconds: nobody has looked for so long."""
FIRST_S: Final = 1.0
"""Longest of these waits, in seconds."""
MOST_INSTANCES: Final = 40
_MOST_KEY: Final = 200
_MOST_CHARACTERS: Final = 300


class Sagas:
    """The sagas of one worker, read at most once in 5 seconds, while somebody looks.

    Args:
        groups: The groups of the worker's handlers.
        settings: The URLs of the databases.
        background: Where reads are tasks.
        now_s: A clock that only goes forward, seconds.
    """

    def __init__(
        self,
        groups: Iterable[type[HandlerGroup]],
        settings: Settings,
        background: Background,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        found: dict[SagaReader, list[type[HandlerGroup]]] = {}
        for group in groups:
            if group.saga_reader is not None:
                found.setdefault(group.saga_reader, []).append(group)
        self._databases = [SagaDatabase(reader, sagas, settings) for reader, sagas in found.items()]
        self._background = background
        self._now_s = now_s
        self._due_s = 0.0
        self._read_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    async def shown(self) -> Json | None:
        """Return what was read last, without what looks like a secret; None if no handler is of a saga.

        It starts the next read in the background, if it is time for that. It waits for it, for a second at
        most, only if nobody has looked for a while.
        """
        if not self._databases:
            return None
        now_s = self._now_s()
        if now_s >= self._due_s and (self._task is None or self._task.done()):
            self._due_s = now_s + EVERY_S
            self._task = self._background.start(self._read(), "sagas for the monitor page")
            if self._read_s is None or now_s - self._read_s > OLD_S:
                await asyncio.wait({self._task}, timeout=FIRST_S)
        return _shown(self._databases, is_read=self._read_s is not None)

    async def timeline(self, saga: str, key: str) -> Json | None:
        """Return the timeline of an instance, without its state and what looks like a secret.

        Args:
            saga: Name of the saga.
            key: Key of the instance.

        Returns:
            None if no saga of this worker has such an instance; ``{"problem": …}`` if a database cannot be
            read.
        """
        found = await asyncio.gather(*(each.timeline(saga, key) for each in self._databases))
        for database, answer in zip(self._databases, found, strict=True):
            if isinstance(answer, SagaTimeline):
                return _timeline(database.name, answer)
        return next(({"problem": answer} for answer in found if answer), None)

    def close(self) -> None:
        """Stop reading; may be called twice."""
        if self._task is not None:
            self._task.cancel()

    async def _read(self) -> None:
        await asyncio.gather(*(database.read() for database in self._databases))
        self._read_s = self._now_s()


def _shown(databases: Sequence[SagaDatabase], *, is_read: bool) -> Json:
    known = [(each.name, each.overview) for each in databases if each.overview is not None]
    instances = [each for _, overview in known for each in overview.instances]
    needs = [each for each in instances if each.status == Status.NEEDS_ATTENTION]
    others = [each for each in instances if each.status != Status.NEEDS_ATTENTION]
    counts: list[Json] = [
        {"name": name, "database": database, "most": overview.most, "counts": dict(numbers)}
        for database, overview in known
        for name, numbers in overview.counts.items()
    ]
    return {
        "is_read": is_read,
        "problems": [each.problem for each in databases if each.problem],
        "attention": sum(each["counts"].get(Status.NEEDS_ATTENTION, 0) for each in counts),
        "sagas": sorted(counts, key=lambda each: -each["counts"].get(Status.NEEDS_ATTENTION, 0)),
        "instances": [*map(_instance, [*_newest(needs), *_newest(others)][:MOST_INSTANCES])],
    }


def _newest(instances: Sequence[SagaInstance]) -> list[SagaInstance]:
    return sorted(instances, key=lambda each: -each.changed_at)


def _instance(instance: SagaInstance) -> Json:
    key = instance.key
    return {
        "saga": instance.saga,
        "key": key if len(key) <= _MOST_KEY else f"{key[: _MOST_KEY - 1]}…",
        "is_whole": len(key) <= _MOST_KEY,
        "version": instance.version,
        "status": instance.status,
        "step": instance.step,
        "attempts": instance.attempts,
        "reason": redact(instance.reason, limit=_MOST_CHARACTERS),
        "started_at": round(instance.started_at, 3),
        "changed_at": round(instance.changed_at, 3),
        "due_at": None if instance.due_at is None else round(instance.due_at, 3),
    }


def _timeline(database: str, found: SagaTimeline) -> Json:
    instance = found.instance
    return {
        **_instance(instance),
        "problem": "",
        "database": database,
        "correlation_id": redact(found.correlation_id, limit=_MOST_CHARACTERS),
        "moments": [
            {
                "at": round(each.at_s, 3),
                "text": redact(each.text, limit=_MOST_CHARACTERS),
                "kind": kind_of(each.text),
            }
            for each in found.moments
        ],
        "commands": _commands(database, instance),
    }


def _commands(database: str, instance: SagaInstance) -> list[str]:
    """Return what a person may type for an instance; nothing if a terminal would not take its key as text."""
    if not instance.key.isprintable() or len(instance.key) > _MOST_KEY:
        return []
    names = shlex.join((database, instance.saga, instance.key))
    needs = instance.status == Status.NEEDS_ATTENTION
    is_forward = not instance.step.endswith("/undo")
    may_undo = instance.status in {Status.RUNNING, Status.COMPLETED} or (needs and is_forward)
    asked: list[Any] = [(needs, "resume", ""), (may_undo, "compensate", " --reason TEXT")]
    return [f"nsqkit saga show {names}"] + [
        f"nsqkit saga {command} {names}{options}" for is_offered, command, options in asked if is_offered
    ]
