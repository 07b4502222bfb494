"""Reading: what people see of sagas while a worker runs, on connections of its own. It writes nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import Connection, Engine, NullPool, Select, create_engine, func, literal, select
from sqlalchemy.exc import SQLAlchemyError

from nsqkit.errors import NsqkitError
from nsqkit.handler.sagas import SagaInstance, SagaOverview, SagaTimeline
from nsqkit.policy.redaction import describe
from nsqkit.policy.saga_terms import Action, Progress, Status
from nsqkit.settings.settings import Settings
from nsqkit.sql.engines import READS_ONLY, prepare
from nsqkit.sql.saga import store
from nsqkit.sql.schema import require_current
from nsqkit.sql.tables import SAGA
from nsqkit.sql.urls import DatabaseUrl

if TYPE_CHECKING:
    from nsqkit.sql.saga.saga import Saga

T = TypeVar("T")
MOST_COUNTED: Final = 10_000
MOST_INSTANCES: Final = 20
"""Most instances of each kind: those that need attention, and those that are open."""
READ_S: Final = 2
"""Longest time to connect, and longest time of a statement, in whole seconds."""
_SHOWN: Final = (
    *(SAGA.c.saga, SAGA.c.key, SAGA.c.version, SAGA.c.status, SAGA.c.progress),
    *(SAGA.c.started_at, SAGA.c.changed_at),
)


class UnreadableDatabaseError(NsqkitError):
    """A database cannot be read now.

    Args:
        database: Name of the database.
        reason: Description of the error, on one line.
    """

    def __init__(self, database: str, reason: str) -> None:
        super().__init__(database, reason)
        self.database = database
        self.reason = reason

    def __str__(self) -> str:
        return f"database {self.database} cannot be read: {self.reason}"


@dataclass(frozen=True, slots=True)
class DatabaseReader:
    """Reads the sagas of one database, on a new connection each time.

    So it takes none away from handlers, and what it waits for is bounded.

    Args:
        database: Name of the database.
    """

    database: str

    def overview(self, sagas: "Sequence[type[Saga[Any]]]", settings: Settings) -> SagaOverview:
        """Return the numbers of instances, and a bounded number of them.

        Args:
            sagas: The classes of the sagas.
            settings: The URL of the database.

        Raises:
            SettingsError: If the URL is missing or wrong.
            SchemaError: If the schema of the database is not that of this nsqkit.
            UnreadableDatabaseError: If it does not answer in time, or with an error.
        """
        return self._read(settings, partial(_overview, sagas=_by_name(sagas)))

    def timeline(
        self, sagas: "Sequence[type[Saga[Any]]]", saga: str, key: str, settings: Settings
    ) -> SagaTimeline | None:
        """Return the timeline of an instance; None if there is none, or no such saga.

        Args:
            sagas: The classes of the sagas.
            saga: Name of the saga.
            key: Key of the instance; not empty.
            settings: The URL of the database.

        Raises:
            SettingsError: If the URL is missing or wrong.
            SchemaError: If the schema of the database is not that of this nsqkit.
            UnreadableDatabaseError: If it does not answer in time, or with an error.
        """
        found = _by_name(sagas)
        if saga not in found:
            return None
        return self._read(settings, partial(_timeline, saga=found[saga], key=key))

    def _read(self, settings: Settings, work: Callable[[Connection], T]) -> T:
        engine = _engine(DatabaseUrl.read(self.database, settings))
        try:
            with engine.connect().execution_options(**{READS_ONLY: True}) as connection, connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{READ_S}s'")
                require_current(connection, self.database)
                return work(connection)
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error  # SQLAlchemy's own text has the whole statement
            reason = " ".join(describe(cause).split())
            raise UnreadableDatabaseError(self.database, reason) from error
        finally:
            engine.dispose()


def _engine(url: DatabaseUrl) -> Engine:
    options: dict[str, Any] = {"poolclass": NullPool}
    if url.plain.get_backend_name() == "postgresql":
        options["connect_args"] = {"connect_timeout": READ_S, "prepare_threshold": None}  # as in ADR 0057
    engine = create_engine(url.plain, **options)
    prepare(engine, lock_timeout_s=READ_S)
    return engine


def _by_name(sagas: "Sequence[type[Saga[Any]]]") -> "dict[str, type[Saga[Any]]]":
    return {each.spec.name: each for each in sagas}


def _overview(connection: Connection, *, sagas: "Mapping[str, type[Saga[Any]]]") -> SagaOverview:
    needs = _newest(connection, sagas, Status.NEEDS_ATTENTION)
    rows = needs + _newest(connection, sagas, Status.RUNNING, Status.COMPENSATING)
    return SagaOverview(
        counts={name: _counts(connection, name) for name in sagas},
        most=MOST_COUNTED,
        instances=[_shown(row, store.read_progress(row.progress), sagas[row.saga]) for row in rows],
    )


def _newest(connection: Connection, sagas: Iterable[str], *statuses: Status) -> list[Any]:
    """Return the rows with one of some statuses that changed last.

    Each statement has one saga and one status, so that the index has its rows in order. With several,
    PostgreSQL may go through all rows by time, which takes hundreds of milliseconds if the open ones are old.
    """
    found = [
        row
        for name in sagas
        for status in statuses
        for row in connection.execute(
            select(*_SHOWN)
            .where(SAGA.c.saga == name, SAGA.c.status == status)
            .order_by(SAGA.c.changed_at.desc())
            .limit(MOST_INSTANCES)
        )
    ]
    return sorted(found, key=lambda row: -row.changed_at)[:MOST_INSTANCES]


def _counts(connection: Connection, name: str) -> dict[str, int]:
    """Return the number of instances by status; each is counted up to a limit."""
    row = connection.execute(select(*(_count(name, status) for status in Status))).one()
    return {str(status): number for status, number in zip(Status, row, strict=True)}


def _count(name: str, status: Status) -> Any:
    some: Select[Any] = select(literal(1).label("one")).where(SAGA.c.saga == name, SAGA.c.status == status)
    return select(func.count()).select_from(some.limit(MOST_COUNTED).subquery()).scalar_subquery()


def _timeline(connection: Connection, *, saga: "type[Saga[Any]]", key: str) -> SagaTimeline | None:
    found = store.listed(connection, saga=saga.spec.name, key=key, most=1)
    if not found:
        return None
    (instance,) = found
    return SagaTimeline(
        _shown(instance, instance.progress, saga),
        instance.correlation_id,
        list(instance.notes),
    )


def _shown(row: Any, progress: Progress, saga: "type[Saga[Any]]") -> SagaInstance:
    return SagaInstance(
        saga=row.saga,
        key=row.key,
        version=row.version,
        status=str(progress.status),
        step=_step(progress, saga.versions.get(row.version)),
        attempts=progress.attempts,
        reason=progress.reason,
        started_at=row.started_at,
        changed_at=row.changed_at,
        due_at=progress.due_s,
    )


def _step(progress: Progress, version: "type[Saga[Any]] | None") -> str:
    """Return the action that an instance is at; a version whose steps are not here has only their numbers."""
    status = progress.before or progress.status
    if status not in {Status.RUNNING, Status.COMPENSATING}:
        return ""
    names = [] if version is None else [step.name for step in version.spec.steps]
    is_known = progress.position < len(names)
    name = names[progress.position] if is_known else f"step {progress.position + 1}"
    return str(Action(name, is_undo=status is Status.COMPENSATING))
