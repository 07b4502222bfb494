"""Schema: one command brings a database to this nsqkit's schema, and no worker starts on another one."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from nsqkit import Settings, sql
from nsqkit.errors import SchemaError
from nsqkit.sql import Database
from nsqkit.sql.schema import REVISIONS, require_current
from nsqkit.sql.tables import METADATA, VERSION_TABLE


def set_revision(outside: sa.Engine, revision: str) -> None:
    with outside.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'")  # noqa: S608


def test_the_revisions_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(sql.__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    scripts = ScriptDirectory.from_config(config)
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


def test_an_upgrade_creates_the_tables_that_the_code_uses(url: str, outside: sa.Engine) -> None:
    settings = Settings(app={"team_url": url})
    assert Database("team").upgrade(settings) == (None, REVISIONS[-1])
    with outside.connect() as connection:
        options = {"version_table": VERSION_TABLE}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
        require_current(connection, "team")


def test_a_second_upgrade_changes_nothing(settings: Settings, outside: sa.Engine) -> None:
    assert Database("team").upgrade(settings) == (REVISIONS[-1], REVISIONS[-1])


def test_a_database_without_tables_is_refused(url: str, outside: sa.Engine) -> None:
    with outside.connect() as connection, pytest.raises(SchemaError, match="run `nsqkit db upgrade team`"):
        require_current(connection, "team")


@pytest.mark.parametrize(
    ("known", "found", "problem"),
    [
        pytest.param(
            ("0000", REVISIONS[-1]), "0000", "is too old.* run `nsqkit db upgrade team`", id="too old"
        ),
        pytest.param(REVISIONS, "9999", "is newer than this nsqkit.* install the nsqkit that", id="too new"),
    ],
)
@pytest.mark.usefixtures("settings")
def test_another_schema_is_refused(
    known: tuple[str, ...], found: str, problem: str, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsqkit.sql.schema.REVISIONS", known)
    set_revision(outside, found)
    with outside.connect() as connection, pytest.raises(SchemaError, match=problem):
        require_current(connection, "team")


def test_a_newer_schema_is_not_upgraded(settings: Settings, outside: sa.Engine) -> None:
    set_revision(outside, "9999")
    with pytest.raises(SchemaError, match="is newer than this nsqkit"):
        Database("team").upgrade(settings)
