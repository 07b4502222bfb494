"""Cleaning: events older than the retention are forgotten, a few in each transaction."""

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nsqkit import Settings
from nsqkit.sql import cleaning, inbox
from nsqkit.sql.cleaning import EVERY_S, Cleaner
from nsqkit.sql.engines import Engines
from nsqkit.sql.urls import DatabaseUrl
from tests.waiting import until


class Log:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append((event, fields))

    error = warning


class Bench:
    """A cleaner whose clock the test sets; events are remembered for an hour."""

    def __init__(self, settings: Settings, outside: sa.Engine) -> None:
        self.now_s = 10_000.0
        self.log = Log()
        self.outside = outside
        self.engines = Engines(DatabaseUrl.read("team", settings), pool_size=1, lock_timeout_s=1)
        self.cleaner = Cleaner(
            "team",
            self.engines.on_loop,
            inbox_retention_s=3600,
            outbox_retention_s=600,
            now_s=lambda: self.now_s,
            log=self.log,
        )

    def remember(self, count: int, handled_at_s: float) -> None:
        statement = sa.text("INSERT INTO nsqkit_inbox VALUES ('t', 'c', 'h', :source, :id, :at)")
        rows = [{"source": str(handled_at_s), "id": str(index), "at": handled_at_s} for index in range(count)]
        with self.outside.begin() as connection:
            connection.execute(statement, rows)

    def remembered(self) -> list[float]:
        query = sa.text("SELECT DISTINCT handled_at FROM nsqkit_inbox ORDER BY 1")
        with self.outside.connect() as connection:
            return list(connection.execute(query).scalars())

    async def close(self) -> None:
        await self.cleaner.close()
        await self.engines.close()


@pytest.fixture
async def bench(settings: Settings, outside: sa.Engine) -> Any:
    found = Bench(settings, outside)
    yield found
    await found.close()


async def test_old_events_are_forgotten_in_small_transactions(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "MOST_ROWS", 2)
    deleted: list[int] = []
    forget = inbox.forget

    def counted(*args: Any, **limits: Any) -> int:
        deleted.append(forget(*args, **limits))
        return deleted[-1]

    monkeypatch.setattr(inbox, "forget", counted)
    bench.remember(5, handled_at_s=6399)
    bench.remember(1, handled_at_s=6400)
    await bench.cleaner.clean()
    assert (deleted, bench.remembered()) == ([2, 2, 1], [6400])


async def test_a_commit_cleans_when_it_is_time_to(bench: Bench) -> None:
    bench.remember(1, handled_at_s=1)
    bench.cleaner.committed()
    bench.now_s += EVERY_S
    assert bench.remembered() == [1]
    bench.cleaner.committed()
    await until(lambda: bench.remembered() == [])


async def test_a_failure_is_logged_and_raises_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> int:
        raise OperationalError("DELETE", None, ConnectionResetError("gone"))

    monkeypatch.setattr(inbox, "forget", fails)
    await bench.cleaner.clean()
    ((event, fields),) = bench.log.lines
    assert (event, fields["database"]) == ("cleaning_failed", "team")
