"""URLs: a database is named by one setting, and a wrong one says what to give without showing a password."""

import pytest

from nsqkit import Settings, SettingsError
from nsqkit.sql.urls import DatabaseUrl


@pytest.mark.parametrize(
    ("text", "on_loop", "plain"),
    [
        pytest.param(
            "sqlite:///a/b.db", "sqlite+aiosqlite:///a/b.db", "sqlite+pysqlite:///a/b.db", id="sqlite"
        ),
        pytest.param(
            "postgresql://me@h:1/stock",
            "postgresql+psycopg://me@h:1/stock",
            "postgresql+psycopg://me@h:1/stock",
            id="postgresql has one driver for both",
        ),
    ],
)
def test_a_url_names_a_database(text: str, on_loop: str, plain: str) -> None:
    found = DatabaseUrl.read("stock", Settings(app={"stock_url": text}))
    assert (str(found.on_loop), str(found.plain)) == (on_loop, plain)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("mysql://me:hunter2@h/stock", "begins with 'mysql'", id="an unsupported database"),
        pytest.param(
            "postgresql+asyncpg://me:hunter2@h/x", "begins with 'postgresql[+]asyncpg'", id="a driver"
        ),
        pytest.param("stock", "is not a URL", id="no URL"),
        pytest.param("sqlite://", "names no file", id="no file"),
        pytest.param("sqlite:///:memory:", "names no file", id="a database in memory"),
    ],
)
def test_another_url_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem) as raised:
        DatabaseUrl.read("stock", Settings(app={"stock_url": text}))
    assert "postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_missing_url_names_the_setting() -> None:
    with pytest.raises(SettingsError, match="'stock' has no URL: set NSQKIT_APP_STOCK_URL=postgresql://"):
        DatabaseUrl.read("stock", Settings())


def test_the_settings_are_shown_without_the_password() -> None:
    rows = Settings(app={"stock_url": "postgresql://me:hunter2@h/stock"}).rows()
    (shown,) = [row.value for row in rows if row.name == "app.stock_url"]
    assert "hunter2" not in shown
    assert shown.endswith("@h/stock")
