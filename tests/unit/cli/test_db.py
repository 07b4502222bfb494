"""`nsqkit db`: one command creates the tables, and reports what it did."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.unit.cli.conftest import Nsqkit


def test_upgrade_creates_the_tables_once(nsqkit: "Nsqkit", tmp_path: Path) -> None:
    command = ("db", "upgrade", "stock", "--app", f"stock_url=sqlite:///{tmp_path}/stock.sqlite")
    first, second = nsqkit(*command), nsqkit(*command)
    assert (first.code, first.out) == (0, "database stock: schema none is now 0004\n")
    assert (second.code, second.out) == (0, "database stock has schema 0004 already\n")


def test_a_database_without_a_url_is_wrong_use(nsqkit: "Nsqkit") -> None:
    result = nsqkit("db", "upgrade", "stock")
    assert result.code == 2
    assert result.err.startswith("error: the database 'stock' has no URL: set NSQKIT_APP_STOCK_URL=")
