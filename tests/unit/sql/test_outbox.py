"""Outbox: what a handler with once= publishes is a row of its transaction, and leaves once that commits."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from nsqkit import (
    Context,
    Discard,
    EncodeError,
    Extension,
    Handler,
    Next,
    Outcome,
    Publish,
    Requeue,
    Settings,
    event,
)
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import Database, outbox
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.testing import Harness
from tests.postgres import SERVERS
from tests.unit.sql.apart import apart

team = Database("team")


@event("parcel.sorted", version=1, topic="sql-outbox")
class ParcelSorted(msgspec.Struct, frozen=True):
    parcel_id: str


@event("label.printed", version=1, topic="sql-labels")
class LabelPrinted(msgspec.Struct, frozen=True):
    parcel_id: str


ends: dict[str, Any] = {}
"""How the handlers end, by the event's id: an outcome, or an exception to raise."""


def sort(event: ParcelSorted, ctx: Context) -> Outcome | None:
    ctx.publish(LabelPrinted(event.parcel_id))
    ctx.publish_raw("sql-raw", b"raw", defer_s=60)
    end = ends.get(event.parcel_id)
    if isinstance(end, Exception):
        raise end
    outcome: Outcome | None = end
    return outcome


class Sort(Handler[ParcelSorted], channel="sort", once=team):
    async def handle(self, event: ParcelSorted, ctx: Context) -> Outcome | None:
        return sort(event, ctx)


class SortPlain(Handler[ParcelSorted], channel="sort-plain", once=team):
    def handle(self, event: ParcelSorted, ctx: Context) -> Outcome | None:
        return sort(event, ctx)


KINDS = pytest.mark.parametrize("handler", [Sort, SortPlain])
AnyKind = type[Handler[ParcelSorted]]
EVENT = ParcelSorted("p1")
BODY = encode(EVENT, stamp("scales"))[1]


@pytest.fixture(autouse=True)
def _no_ends() -> Iterator[None]:
    yield
    ends.clear()


def stored(outside: sa.Engine) -> list[tuple[str, bool]]:
    """Return the topic of each row, and whether it is marked as sent."""
    with outside.connect() as connection:
        found = connection.exec_driver_sql("SELECT topic, sent_at FROM nsqkit_outbox ORDER BY id")
        return [(topic, sent_at is not None) for topic, sent_at in found]


@KINDS
async def test_events_leave_after_the_commit_and_are_marked_when_nsqd_has_them(
    handler: AnyKind, settings: Settings, outside: sa.Engine
) -> None:
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
        h.handled(EVENT).once()
        h.published(LabelPrinted("p1")).once()
    assert stored(outside) == [("sql-labels", True), ("sql-raw", True)]


@KINDS
@pytest.mark.parametrize("end", [ValueError("torn"), Requeue(5), Discard()], ids=repr)
async def test_events_of_a_handler_that_has_not_succeeded_do_not_exist(
    end: Any, handler: AnyKind, settings: Settings, outside: sa.Engine
) -> None:
    ends["p1"] = end
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
        h.published(LabelPrinted).never()
    assert stored(outside) == []


@KINDS
async def test_a_message_is_finished_although_nsqd_takes_no_events_for_the_rows_remain(
    handler: AnyKind, settings: Settings, outside: sa.Engine
) -> None:
    async with Harness([handler], settings=settings) as h:
        h.fail_publish(topic="sql-labels")
        h.fail_publish(topic="sql-raw", permanent=True)
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
        h.handled(EVENT).once()
        h.published(LabelPrinted).never()
    assert stored(outside) == [("sql-labels", False), ("sql-raw", False)]


PLACE = sa.text("INSERT INTO placed VALUES (1)")


class Place(Sort, channel="place", once=team):
    async def handle(self, event: ParcelSorted, ctx: Context) -> Outcome | None:
        await ctx.resource(team.session).execute(PLACE)
        return sort(event, ctx)


class PlacePlain(SortPlain, channel="place-plain", once=team):
    def handle(self, event: ParcelSorted, ctx: Context) -> Outcome | None:
        ctx.resource(team.plain_session).execute(PLACE)
        return sort(event, ctx)


@pytest.mark.parametrize("handler", [Place, PlacePlain])
async def test_a_commit_that_fails_publishes_nothing(
    handler: AnyKind, settings: Settings, outside: sa.Engine
) -> None:
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE shelves (id INTEGER PRIMARY KEY)")
        connection.exec_driver_sql(
            "CREATE TABLE placed (shelf INTEGER REFERENCES shelves (id) DEFERRABLE INITIALLY DEFERRED)"
        )
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
        h.published(LabelPrinted).never()
        assert stored(outside) == []
        with outside.begin() as connection:
            connection.exec_driver_sql("INSERT INTO shelves VALUES (1)")
        await h.settle(through_delays=True)
        h.published(LabelPrinted).once()
    assert stored(outside) == [("sql-labels", True), ("sql-raw", True)]


@KINDS
async def test_events_of_a_failure_that_a_middleware_swallows_do_not_leave(
    handler: AnyKind, settings: Settings, outside: sa.Engine
) -> None:
    async def swallow(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        with contextlib.suppress(ValueError):
            return await call_next(event, ctx)
        return None

    ends["p1"] = ValueError("torn")
    async with Harness([handler], settings=settings, middleware=[swallow]) as h:
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
        h.handled(EVENT).once()
        h.published(LabelPrinted).never()
    assert stored(outside) == []


async def test_extensions_see_stored_events_and_their_confirmation(
    settings: Settings, outside: sa.Engine
) -> None:
    class Trace(Extension):
        def on_publish(self, publish: Publish) -> None:
            publish.attributes["traceparent"] = "00-1"
            publish.when_done.append(results.append)

    results: list[BaseException | None] = []
    async with Harness([Sort], settings=settings, middleware=[Trace()]) as h:
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
    assert results == [None, None]
    with outside.connect() as connection:
        body = connection.execute(
            sa.text("SELECT body FROM nsqkit_outbox WHERE due_at = created_at")
        ).scalar_one()
    assert msgspec.json.decode(bytes(body))["traceparent"] == "00-1"


async def test_a_row_that_cannot_be_marked_is_reported_and_left_to_a_relay(
    settings: Settings, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise OperationalError("UPDATE", None, ConnectionResetError("gone"))

    monkeypatch.setattr(outbox, "mark_sent", fails)
    async with Harness([Sort], settings=settings) as h:
        await h.publish_raw("sql-outbox", BODY)
        await h.settle()
        h.handled(EVENT).once()
    assert stored(outside) == [("sql-labels", False), ("sql-raw", False)]


async def test_rows_that_are_confirmed_one_after_the_other_are_marked_together(
    settings: Settings, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked: list[int] = []
    real = outbox.mark_sent

    def mark_sent(connection: sa.Connection, ids: Sequence[int], *, now_s: float) -> None:
        marked.append(len(ids))
        real(connection, ids, now_s=now_s)

    monkeypatch.setattr(outbox, "mark_sent", mark_sent)
    async with OpenDatabase.opened("team", settings) as database:
        with outside.begin() as connection:
            ids = apart(outbox.store)(connection, [Outgoing("a", b"x")] * 3, now_s=1.0, lease_s=0.0)
        for each in ids:
            database.confirmations.add(each)
            await asyncio.sleep(0)  # the next one comes in a later turn
    assert marked == [3]
    assert [is_sent for _, is_sent in stored(outside)] == [True] * 3


def test_an_event_can_be_added_to_any_transaction(settings: Settings, outside: sa.Engine) -> None:
    with Session(outside) as session:
        outbox.add(session, LabelPrinted("kept"), source="web")
        session.commit()
        outbox.add(session, LabelPrinted("dropped"), source="web")
        session.rollback()
    with outside.begin() as connection:
        (found,) = outbox.claim(connection, now_s=time.time(), lease_s=1.0, most=10)
    assert found.topic == "sql-labels"
    assert msgspec.json.decode(found.body)["data"] == {"parcel_id": "kept"}


async def test_an_event_can_be_added_to_an_async_session(settings: Settings, outside: sa.Engine) -> None:
    async with (
        OpenDatabase.opened("team", settings) as database,
        AsyncSession(database.engines.on_loop) as session,
    ):
        outbox.add(session, LabelPrinted("p1"), topic="elsewhere", source="web")
        await session.commit()
    assert stored(outside) == [("elsewhere", False)]


def test_an_event_has_the_attributes_of_its_request(settings: Settings, outside: sa.Engine) -> None:
    with Session(outside) as session:
        outbox.add(session, LabelPrinted("p1"), source="web", attributes={"correlationid": "request-1"})
        session.commit()
        body = session.execute(sa.text("SELECT body FROM nsqkit_outbox")).scalar_one()
    assert msgspec.json.decode(bytes(body))["correlationid"] == "request-1"


def test_what_is_no_event_is_refused(outside: sa.Engine) -> None:
    with Session(outside) as session, pytest.raises(EncodeError):
        outbox.add(session, "p1", source="web")


def test_events_come_from_the_service_of_the_settings(
    settings: Settings, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NSQKIT_SERVICE", "web")
    outbox._preparer.cache_clear()
    with Session(outside) as session:
        outbox.add(session, LabelPrinted("p1"))
        session.commit()
        body = session.execute(sa.text("SELECT body FROM nsqkit_outbox")).scalar_one()
    outbox._preparer.cache_clear()
    assert msgspec.json.decode(bytes(body))["source"] == "web"


def test_ids_are_in_the_order_of_the_events(settings: Settings, outside: sa.Engine) -> None:
    events = [Outgoing(f"topic-{number}", b"x") for number in range(20)]
    with outside.begin() as connection:
        ids = outbox.store(connection, events, now_s=1.0, lease_s=0.0)
        found = outbox.claim(connection, now_s=1.0, lease_s=5.0, most=100)
    assert {each.id: each.topic for each in found} == dict(
        zip(ids, (each.topic for each in events), strict=True)
    )


def test_claimed_rows_are_free_again_when_their_lease_is_over(settings: Settings, outside: sa.Engine) -> None:
    with outside.begin() as connection:
        outbox.store(connection, [Outgoing("a", b"x")], now_s=100.0, lease_s=30.0)
        counts = [
            len(outbox.claim(connection, now_s=now_s, lease_s=30.0, most=10))
            for now_s in (100.0, 129.0, 130.0, 159.0, 160.0)
        ]
    assert counts == [0, 0, 1, 0, 1]


@pytest.mark.parametrize("url", SERVERS, indirect=True)
def test_rows_that_another_relay_is_claiming_are_skipped(settings: Settings, outside: sa.Engine) -> None:
    """SQLite has one writer at a time."""
    with outside.begin() as connection:
        outbox.store(connection, [Outgoing("a", b"x"), Outgoing("b", b"x")], now_s=1.0, lease_s=0.0)
    with outside.begin() as one, outside.begin() as two:
        first = outbox.claim(one, now_s=2.0, lease_s=30.0, most=1)
        second = outbox.claim(two, now_s=2.0, lease_s=30.0, most=10)
    assert sorted(each.topic for each in (*first, *second)) == ["a", "b"]


def test_parked_rows_are_listed_and_replayed(settings: Settings, outside: sa.Engine) -> None:
    with outside.begin() as connection:
        one, two = outbox.store(connection, [Outgoing("a", b"x"), Outgoing("b", b"x")], now_s=1.0, lease_s=0)
        for each in (one, two):
            outbox.park(connection, each, "too large", now_s=2.0)
        assert [(row.id, row.problem) for row in outbox.parked(connection)] == [
            (one, "too large"),
            (two, "too large"),
        ]
        assert outbox.claim(connection, now_s=99.0, lease_s=1.0, most=10) == []
        assert outbox.replay(connection, [two]) == 1
        assert [each.id for each in outbox.claim(connection, now_s=99.0, lease_s=1.0, most=10)] == [two]
        assert outbox.replay(connection, []) == 1


def test_only_sent_rows_are_forgotten(settings: Settings, outside: sa.Engine) -> None:
    with outside.begin() as connection:
        one, two, _ = outbox.store(connection, [Outgoing("a", b"x")] * 3, now_s=1.0, lease_s=0.0)
        outbox.mark_sent(connection, [one], now_s=2.0)
        outbox.mark_sent(connection, [two], now_s=3.0)
        assert outbox.forget(connection, before_s=3.0, most=10) == 1
    assert stored(outside) == [("a", True), ("a", False)]
