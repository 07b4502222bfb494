"""Store: the rows of instances. It decides nothing, and begins and commits no transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, select, update

from nsqkit.events.codec.formats import encode_json, loads
from nsqkit.events.codec.models import kind_of
from nsqkit.events.shape import PLAIN
from nsqkit.handler.sagas import Moment
from nsqkit.policy.saga_terms import Progress
from nsqkit.sql.tables import INSERT, SAGA

MOST_NOTES: Final = 200
"""Most lines of an instance's timeline; the first and the last ones are kept."""
_read_progress = kind_of(Progress).reader(Progress, PLAIN)


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a saga.

    Args:
        saga: Name of the saga.
        key: Identifies it in its saga.
        version: Version of its steps.
        correlation_id: ``correlationid`` of its commands and their replies.
        topic: Topic on which it is woken.
        epoch: Number of changes so far; a worker that knows an older one changes nothing.
        owner: Who made the last change.
        state: Its state, as JSON.
        progress: How far it is.
        notes: Its timeline, oldest first.
        started_at: When it started, seconds since 1970 UTC.
        changed_at: When it changed last, seconds since 1970 UTC.
    """

    saga: str
    key: str
    version: int
    correlation_id: str
    topic: str
    epoch: int
    owner: str
    state: str
    progress: Progress
    notes: tuple[Moment, ...]
    started_at: float
    changed_at: float


def add(connection: Connection, instance: Instance) -> bool:
    """Add a new instance, and return whether its key is new in its saga.

    Args:
        connection: A connection in a transaction.
        instance: The instance.
    """
    keys = {"saga": instance.saga, "key": instance.key, "started_at": instance.started_at}
    row = {**keys, "correlation_id": instance.correlation_id, "topic": instance.topic, **_changing(instance)}
    insert = INSERT[connection.dialect.name](SAGA).values(row)
    added = insert.on_conflict_do_nothing(index_elements=[SAGA.c.key, SAGA.c.saga])
    return connection.execute(added.returning(SAGA.c.key)).first() is not None


def find(connection: Connection, saga: str, *, key: str = "", correlation_id: str = "") -> Instance | None:
    """Return an instance, locked until the transaction ends; None if there is none.

    Args:
        connection: A connection in a transaction.
        saga: Name of the saga.
        key: Its key; empty to look for its *correlation_id*.
        correlation_id: Its correlation id.
    """
    which = SAGA.c.key == key if key else SAGA.c.correlation_id == correlation_id
    row = connection.execute(select(SAGA).where(which, SAGA.c.saga == saga).with_for_update()).one_or_none()
    return None if row is None else _instance(row)


def save(connection: Connection, before: Instance, after: Instance) -> bool:
    """Store a change, and return whether nobody else has changed the instance in between.

    Args:
        connection: A connection in a transaction.
        before: The instance, as it was found.
        after: The instance, as it is now; its epoch is raised by one.
    """
    here = (SAGA.c.saga == before.saga, SAGA.c.key == before.key, SAGA.c.epoch == before.epoch)
    values = _changing(replace(after, epoch=before.epoch + 1))
    return connection.execute(update(SAGA).where(*here).values(values)).rowcount > 0


def listed(
    connection: Connection, *, saga: str = "", status: str = "", key: str = "", most: int = 100
) -> list[Instance]:
    """Return instances, those that changed last first; wait for no lock.

    Args:
        connection: A connection.
        saga: Name of the saga; empty for all.
        status: Their status; empty for all.
        key: Their key; empty for all.
        most: Most instances to return; 1 or more.
    """
    query = select(SAGA).order_by(SAGA.c.changed_at.desc()).limit(most)
    query = query.where(SAGA.c.saga == saga) if saga else query
    query = query.where(SAGA.c.status == status) if status else query
    query = query.where(SAGA.c.key == key) if key else query
    return [_instance(row) for row in connection.execute(query)]


def with_notes(notes: Sequence[Moment], new: Sequence[Moment]) -> tuple[Moment, ...]:
    """Return a timeline with new lines, without the middle if it becomes too long."""
    every = (*notes, *new)
    half = MOST_NOTES // 2
    return every if len(every) <= MOST_NOTES else (*every[:half], *every[-half:])


def read_progress(text: str) -> Progress:
    """Return how far an instance is, from the text in its row."""
    progress: Progress = _read_progress(text.encode())
    return progress


def _changing(instance: Instance) -> dict[str, object]:
    """Return the columns that a change may change."""
    progress = instance.progress
    return {
        "version": instance.version,
        "status": str(progress.status),
        "epoch": instance.epoch,
        "owner": instance.owner,
        "wake_at": progress.due_s,
        "state": instance.state,
        "progress": encode_json(progress).decode(),
        "notes": encode_json([(note.at_s, note.text) for note in instance.notes]).decode(),
        "changed_at": instance.changed_at,
    }


def _instance(row: Any) -> Instance:
    return Instance(
        saga=row.saga,
        key=row.key,
        version=row.version,
        correlation_id=row.correlation_id,
        topic=row.topic,
        epoch=row.epoch,
        owner=row.owner,
        state=row.state,
        progress=read_progress(row.progress),
        notes=tuple(Moment(at_s, text) for at_s, text in loads(row.notes)),
        started_at=row.started_at,
        changed_at=row.changed_at,
    )
