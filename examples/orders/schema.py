"""Schema: the tables of each service's database, by its own migrations and nsqkit's.

``python -m examples.orders.schema`` upgrades all databases; with names it upgrades those. Run it before
the services.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, make_url

from nsqkit import Settings
from nsqkit.sql import Database

SERVICES: Final = ("orders", "inventory", "payments", "notifications")
"""The services that have a database, which has the name of its service."""
_FOLDER: Final = Path(__file__).parent


def upgrade(name: str, settings: Settings) -> None:
    """Create the tables of one service, or bring them to the newest revision.

    Args:
        name: One of ``SERVICES``.
        settings: The URL of the database, ``app.<name>_url``.

    Raises:
        SettingsError: If the URL is missing, or names no supported database.
    """
    url = make_url(settings.app_text(f"{name}_url", f"sqlite:///{name}.sqlite"))
    if url.get_backend_name() == "sqlite":
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
    Database(name).upgrade(settings)  # nsqkit's tables: inbox and outbox
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            _run_migrations(connection, _FOLDER / name / "migrations")
    finally:
        engine.dispose()


def _run_migrations(connection: Connection, folder: Path) -> None:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory(str(folder), version_locations=[str(folder)])

    def steps(revision: object, _context: object) -> object:
        return scripts._upgrade_revs("head", revision)  # type: ignore[arg-type]  # noqa: SLF001 - as alembic's own command does

    with EnvironmentContext(config, scripts, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def main(names: Sequence[str]) -> None:
    """Upgrade the named databases, or all."""
    settings = Settings.load()
    for name in names or SERVICES:
        upgrade(name, settings)
        print(f"database {name}: ready")


if __name__ == "__main__":
    main(sys.argv[1:])
