"""Schema: whether a database has the tables of this nsqkit, and how it gets them."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, create_engine, inspect, text

from nsqkit.errors import SchemaError
from nsqkit.sql.engines import prepare
from nsqkit.sql.tables import VERSION_TABLE
from nsqkit.sql.urls import DatabaseUrl

REVISIONS: Final = ("0001", "0002", "0003", "0004")
"""The revisions of the schema, oldest first; the last one is that of this nsqkit."""

_LOCK: Final = 6_873_561_071  # any number that no other program uses as an advisory lock


def revision_of(connection: Connection) -> str | None:
    """Return the revision of a database's schema; None if it has none of nsqkit's tables."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant


def require_current(connection: Connection, name: str) -> None:
    """Refuse a database whose schema is not that of this nsqkit.

    Args:
        connection: A connection to the database.
        name: Name of the database.

    Raises:
        SchemaError: If its schema is missing, too old or too new.
    """
    found = revision_of(connection)
    if found == REVISIONS[-1]:
        return
    upgrade_it = f"run `nsqkit db upgrade {name}`"
    if found is None:
        raise SchemaError(name, f"it has no tables of nsqkit; {upgrade_it}")
    if found in REVISIONS:
        raise SchemaError(name, f"its schema {found} is too old, {REVISIONS[-1]} is needed; {upgrade_it}")
    raise SchemaError(
        name,
        f"its schema {found} is newer than this nsqkit, which knows {REVISIONS[-1]}; "
        "install the nsqkit that upgraded it",
    )


def upgrade(url: DatabaseUrl, name: str) -> tuple[str | None, str]:
    """Bring a database to the schema of this nsqkit, in one transaction; several at once wait.

    Args:
        url: URL of the database.
        name: Name of the database.

    Returns:
        The revisions before, None for none, and after.

    Raises:
        SchemaError: If its schema is newer than this nsqkit.
    """
    engine = create_engine(url.plain)
    prepare(engine, lock_timeout_s=60.0)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            found = revision_of(connection)
            if found is not None and found not in REVISIONS:
                require_current(connection, name)
            _run_migrations(connection)
        return found, REVISIONS[-1]
    finally:
        engine.dispose()


def _run_migrations(connection: Connection) -> None:
    from alembic.config import Config  # noqa: PLC0415 - a worker does not load alembic
    from alembic.runtime.environment import EnvironmentContext  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)

    def steps(revision: object, _context: object) -> object:
        return scripts._upgrade_revs(REVISIONS[-1], revision)  # type: ignore[arg-type]  # noqa: SLF001 - as alembic's own command does

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE)
        environment.run_migrations()
