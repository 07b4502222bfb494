"""Cleaning: events older than the retention are forgotten, a few in each transaction."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nsqkit import Settings
from nsqkit.policy.saga_terms import Progress, Status
from nsqkit.sql import cleaning, inbox
from nsqkit.sql.cleaning import EVERY_S, Cleaner
from nsqkit.sql.engines import Engines
from nsqkit.sql.saga import store
from nsqkit.sql.urls import DatabaseUrl
from tests.unit.sql.apart import apart
from tests.unit.sql.saga.test_store import NEW
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
            saga_retention_s=100,
            now_s=lambda: self.now_s,
            log=self.log,
        )

    def remember(self, count: int, handled_at_s: float) -> None:
        columns = "topic, channel, handler, source, event_id, handled_at"
        values = "'t', 'c', 'h', :source, :id, :at"
        statement = sa.text(f"INSERT INTO nsqkit_inbox ({columns}) VALUES ({values})")  # noqa: S608
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


@apart
def _add_sagas(outside: sa.Engine) -> None:
    with outside.begin() as connection:
        for status, changed_at in itertools.product(Status, (9899.0, 9900.0)):
            for number in range(2):
                instance = replace(NEW, key=f"{status}-{changed_at}-{number}", changed_at=changed_at)
                instance = replace(instance, correlation_id=instance.key, progress=Progress(status))
                assert store.add(connection, instance)


@apart
def _sagas(outside: sa.Engine) -> set[tuple[Status, float]]:
    with outside.connect() as connection:
        return {(each.progress.status, each.changed_at) for each in store.listed(connection)}


async def test_sagas_are_forgotten_some_time_after_their_end_unless_they_need_attention(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "MOST_ROWS", 2)
    _add_sagas(bench.outside)
    await bench.cleaner.clean()
    found = _sagas(bench.outside)
    ended = {(Status.COMPLETED, 9899.0), (Status.COMPENSATED, 9899.0)}
    assert found == {*itertools.product(Status, (9899.0, 9900.0))} - ended


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
