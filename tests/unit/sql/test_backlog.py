"""Backlog: events that are due and not sent are counted; a process that nobody asks measures nothing."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nsqkit import Settings
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import backlog, outbox
from nsqkit.sql.backlog import Backlog, Late, late
from nsqkit.sql.engines import Engines
from nsqkit.sql.urls import DatabaseUrl
from tests.unit.sql.apart import apart
from tests.unit.sql.test_cleaning import Log
from tests.waiting import until

NOW_S = 10_000.0
FIGURES = [
    ("nsqkit_outbox_waiting", ("team",), 1),
    ("nsqkit_outbox_oldest_age_seconds", ("team",), 100.0),
]


def store(outside: sa.Engine, *events: Outgoing, now_s: float, lease_s: float = 0.0) -> list[int]:
    with outside.begin() as connection:
        return outbox.store(connection, events, now_s=now_s, lease_s=lease_s)


def test_an_event_is_late_from_its_due_time_until_it_is_sent_or_parked(
    settings: Settings, outside: sa.Engine
) -> None:
    sent, parked, _ = store(outside, *[Outgoing("t", b"1")] * 3, now_s=NOW_S - 100.0)
    store(outside, Outgoing("t", b"claimed"), now_s=NOW_S - 50.0, lease_s=3600.0)
    store(outside, Outgoing("t", b"deferred", defer_s=60.0), now_s=NOW_S - 50.0)
    store(outside, Outgoing("t", b"scheduled", at_s=NOW_S + 86_400.0), now_s=NOW_S - 500.0)
    store(outside, Outgoing("t", b"overdue", at_s=NOW_S - 30.0), now_s=NOW_S - 500.0)
    with outside.begin() as connection:
        assert late(connection, now_s=NOW_S) == Late(5, 100.0)
        outbox.mark_sent(connection, [sent], now_s=NOW_S)
        outbox.park(connection, parked, "too large", now_s=NOW_S)
        assert late(connection, now_s=NOW_S) == Late(3, 100.0)


def test_nothing_is_late_in_an_empty_outbox(settings: Settings, outside: sa.Engine) -> None:
    with outside.connect() as connection:
        assert late(connection, now_s=NOW_S) == Late(0, 0.0)


@pytest.fixture
async def engines(settings: Settings) -> AsyncIterator[Engines]:
    opened = Engines(DatabaseUrl.read("team", settings), pool_size=1, lock_timeout_s=1)
    yield opened
    await opened.close()


@pytest.fixture
async def found(engines: Engines, outside: sa.Engine) -> AsyncIterator[Backlog]:
    apart(store)(outside, Outgoing("t", b"1"), now_s=NOW_S - 100.0)
    measured = Backlog("team", engines.on_loop, now_s=lambda: NOW_S, log=Log())
    yield measured
    await measured.close()


async def test_each_question_is_answered_with_the_measurement_that_the_one_before_has_started(
    found: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Any] = []
    real = backlog.late

    def counted(*given: Any, **limits: Any) -> Late:
        measured.append(given)
        return real(*given, **limits)

    monkeypatch.setattr(backlog, "late", counted)
    assert await asyncio.to_thread(lambda: list(found.figures())) == []
    await until(lambda: list(found.figures()) == FIGURES)
    assert len(measured) == 1  # however often somebody asks
    monkeypatch.setattr(backlog, "AGAIN_S", 0.0)

    def has_measured_again() -> bool:  # once the connection of the first time is free
        return list(found.figures()) is not None and len(measured) > 1

    await until(has_measured_again)


async def test_handlers_do_not_wait_for_a_connection_because_somebody_asks(
    found: Backlog, engines: Engines
) -> None:
    pool = engines.pools["async"]
    async with engines.on_loop.connect():
        list(found.figures())
        await asyncio.sleep(0)  # one turn
        assert (pool.checkedout(), pool.waiting) == (1, 0)
    await until(lambda: list(found.figures()) == FIGURES)


async def test_after_a_failed_measurement_nothing_is_known(
    found: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await found.measure()
    assert list(found.figures()) == FIGURES

    def fails(*_: Any, **__: Any) -> Late:
        raise OperationalError("SELECT", None, ConnectionResetError("gone"))

    monkeypatch.setattr(backlog, "late", fails)
    await found.measure()
    assert list(found.figures()) == []
