"""Stranded: the instances that workers with some sagas would set aside, because they lack their version."""

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from nsqkit.handler.spec import HandlerSpec
from nsqkit.policy.saga_terms import Status
from nsqkit.settings.settings import Settings
from nsqkit.sql.one_transaction import in_transaction
from nsqkit.sql.saga.saga import Saga
from nsqkit.sql.tables import SAGA


def stranded(specs: Sequence[HandlerSpec], settings: Settings) -> list[str]:
    """Return a line for each old version of a saga that has open instances, and that the handlers lack.

    Args:
        specs: Specs of handlers, those of sagas among them.
        settings: The URLs of the sagas' databases.

    Raises:
        SettingsError: If a URL is missing or wrong.
        SchemaError: If the schema of a database is not that of this nsqkit.
    """
    groups = dict.fromkeys(getattr(spec.handler, "group", None) for spec in specs)
    sagas = [each for each in groups if isinstance(each, type) and issubclass(each, Saga)]
    return [problem for saga in sagas for problem in _problems(saga, settings)]


def _problems(saga: type[Saga[object]], settings: Settings) -> list[str]:
    spec = saga.spec

    def count(connection: Connection) -> list[tuple[int, int]]:
        is_open = SAGA.c.status.in_([Status.RUNNING, Status.COMPENSATING])
        query = select(SAGA.c.version, func.count()).where(SAGA.c.saga == spec.name, is_open)
        found = connection.execute(query.group_by(SAGA.c.version).order_by(SAGA.c.version))
        return [(version, number) for version, number in found]

    return [
        f"{spec.location}: saga {spec.name}: {number} open instance{'s' if number > 1 else ''} of version "
        f"{version}, whose steps are not here; add the class of that version to older=[…]"
        for version, number in in_transaction(spec.database.name, settings, count)
        if version < spec.version and version not in saga.versions
    ]
