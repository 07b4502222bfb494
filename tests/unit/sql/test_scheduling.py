"""Scheduling: an event with a time is a row until then, and a relay publishes it once it is due."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from nsqkit import Context, EncodeError, Handler, Settings, event
from nsqkit.handler.wall_clock import WallClock
from nsqkit.sql import Database, outbox
from nsqkit.sql.server_clock import ServerClock
from nsqkit.sql.testing import relayed
from nsqkit.testing import Harness

team = Database("team")
DAY_S = 86_400.0


@event("visit.booked", version=1, topic="sql-visits")
class VisitBooked(msgspec.Struct, frozen=True):
    visit_id: str
    starts_at: datetime


@event("visit.near", version=1, topic="sql-reminders")
class VisitNear(msgspec.Struct, frozen=True):
    visit_id: str


class Remind(Handler[VisitBooked], channel="remind", once=team):
    async def handle(self, event: VisitBooked, ctx: Context) -> None:
        ctx.publish(VisitNear(event.visit_id), at=event.starts_at - timedelta(days=1))


class Mail(Handler[VisitNear], channel="mail"):
    async def handle(self, event: VisitNear, ctx: Context) -> None:
        pass


class RemindWithoutDatabase(Handler[VisitBooked], channel="remind-only"):
    async def handle(self, event: VisitBooked, ctx: Context) -> None:
        ctx.publish(VisitNear(event.visit_id), at=event.starts_at)


def now_of(h: Harness) -> datetime:
    return datetime.fromtimestamp(h.wall_clock.now_s(), UTC)


async def test_an_event_is_published_at_its_time_however_far_it_is(settings: Settings) -> None:
    async with Harness([Remind, Mail], settings=settings) as h:
        await h.publish(VisitBooked("v1", now_of(h) + timedelta(days=31)))
        await h.settle()
        h.clock.advance(30 * DAY_S - 5.0)
        assert await relayed(h, team) == 0
        h.clock.advance(10.0)
        assert [await relayed(h, team), await relayed(h, team)] == [1, 0]
        h.handled(VisitNear("v1")).once()


async def test_a_time_in_the_past_is_now_and_needs_no_relay(settings: Settings) -> None:
    async with Harness([Remind, Mail], settings=settings) as h:
        await h.publish(VisitBooked("v1", now_of(h) + timedelta(hours=2)))
        await h.settle()
        h.handled(VisitNear("v1")).once()


async def test_an_event_with_a_time_needs_a_database(settings: Settings) -> None:
    async with Harness([RemindWithoutDatabase], settings=settings) as h:
        await h.publish(VisitBooked("v1", now_of(h)))
        await h.settle()
        error = str(h.requeued(VisitBooked).once().error)
    assert "add once=… to the handler's class keywords" in error
    assert "outbox.add(session, event, at=…)" in error


async def test_a_handler_is_tested_without_a_database() -> None:
    ctx, at = Context(), datetime(2030, 1, 2, tzinfo=UTC)
    await Remind().handle(VisitBooked("v1", at), ctx)
    assert [each.at_s for each in ctx.outgoing] == [at.timestamp() - DAY_S]


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        pytest.param({"at": datetime(2030, 1, 2)}, "time with a time zone", id="no time zone"),  # noqa: DTZ001
        pytest.param({"at": 5.0}, "time with a time zone", id="no time"),
        pytest.param({"at": datetime(2030, 1, 2, tzinfo=UTC), "defer_s": 5.0}, "give one of them", id="both"),
        pytest.param({"defer_s": 7200.0}, "store the event in an outbox with at=", id="a delay too long"),
    ],
)
def test_a_wrong_time_is_refused(wanted: dict[str, Any], problem: str) -> None:
    with pytest.raises(EncodeError, match=problem):
        Context().publish(VisitNear("v1"), **wanted)


def test_any_session_can_schedule_an_event(settings: Settings, outside: sa.Engine) -> None:
    at = datetime.now(UTC) + timedelta(days=400)
    with Session(outside) as session:
        outbox.add(session, VisitNear("v1"), at=at, source="web")
        session.commit()
    with outside.begin() as connection:
        before, due = at.timestamp() - 1.0, at.timestamp() + 1.0
        assert outbox.claim(connection, now_s=before, lease_s=30.0, most=10) == []
        (found,) = outbox.claim(connection, now_s=due, lease_s=30.0, most=10)
    assert (found.topic, found.due_at) == ("sql-reminders", at.timestamp())


def test_the_clock_of_the_server_counts(settings: Settings, outside: sa.Engine) -> None:
    """SQLite has no server, so its time is that of this machine."""
    clock = ServerClock(WallClock(lambda: 1000.0))
    with outside.connect() as connection:
        clock.measure(connection)
        is_server = connection.dialect.name == "postgresql"
    assert abs(clock.now_s() - (time.time() if is_server else 1000.0)) < DAY_S
