"""Writer: an event of outbox.add leaves right after the commit of the program that wrote it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from nsqkit import EncodeError, PublishError, Settings, event
from nsqkit.events.codec.envelope import read_envelope
from nsqkit.handler.outgoing import Preparer
from nsqkit.sql import Database
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.writer import OutboxWriter
from tests.waiting import until

team = Database("team")


@event("order.written", version=1, topic="sql-written")
class OrderWritten(msgspec.Struct, frozen=True):
    order_id: str


class RecordingPublisher:
    """Publishes to nobody.

    Attributes:
        sent: Topic, order id and delay of each event.
        bodies: The bodies of the events.
        error: What publishing fails with; None if it does not.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, float]] = []
        self.bodies: list[bytes] = []
        self.error: Exception | None = None

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        if self.error is not None:
            raise self.error
        self.bodies.append(body)
        self.sent.append((topic, msgspec.json.decode(body)["data"]["order_id"], defer_s))


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[OpenDatabase]:
    async with OpenDatabase.opened("team", settings) as found:
        yield found


@pytest.fixture
async def writer(database: OpenDatabase, publisher: RecordingPublisher) -> OutboxWriter:
    return OutboxWriter(database, publisher, Preparer(source="web", max_msg_bytes=1000))


def rows(outside: sa.Engine) -> list[tuple[str, bool, bool]]:
    """Return the topic of each row, whether it is sent, and whether a relay may publish it at once."""
    with outside.connect() as connection:
        found = connection.exec_driver_sql(
            "SELECT topic, sent_at, claimed_until <= created_at FROM nsqkit_outbox ORDER BY id"
        )
        return [(topic, sent_at is not None, bool(is_free)) for topic, sent_at, is_free in found]


async def ended(writer: OutboxWriter) -> None:
    """Wait until all that was committed is published and marked."""
    async with writer:
        pass
    await writer._database.confirmations.close()


async def test_an_event_leaves_after_the_commit_and_not_before(
    writer: OutboxWriter, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    with Session(outside) as session:
        writer.add(session, OrderWritten("o1"))
        session.flush()
        await ended(writer)
        assert publisher.sent == []
        session.commit()
        await ended(writer)
        session.commit()
        await ended(writer)
    assert publisher.sent == [("sql-written", "o1", 0.0)]
    assert rows(outside) == [("sql-written", True, False)]


async def test_an_async_session_and_a_thread_commit_too(
    writer: OutboxWriter, publisher: RecordingPublisher, database: OpenDatabase, outside: sa.Engine
) -> None:
    async with AsyncSession(database.engines.on_loop) as session:
        writer.add(session, OrderWritten("o1"), topic="elsewhere")
        await session.commit()
    await ended(writer)

    def in_thread() -> None:
        with Session(outside) as plain:
            writer.add(plain, OrderWritten("o2"))
            plain.commit()

    await asyncio.to_thread(in_thread)
    await ended(writer)
    assert publisher.sent == [("elsewhere", "o1", 0.0), ("sql-written", "o2", 0.0)]
    assert [is_sent for _, is_sent, _ in rows(outside)] == [True, True]


async def test_events_of_a_rollback_and_of_a_savepoint_do_not_exist(
    writer: OutboxWriter, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    with Session(outside) as session:
        writer.add(session, OrderWritten("rolled back"))
        session.flush()
        session.rollback()
        writer.add(session, OrderWritten("kept"))
        savepoint = session.begin_nested()
        writer.add(session, OrderWritten("undone"))
        session.flush()
        savepoint.rollback()
        with session.begin_nested():
            writer.add(session, OrderWritten("kept too"))
        await ended(writer)
        assert publisher.sent == []
        session.expire_all()
        session.commit()
    await ended(writer)
    assert [order_id for _, order_id, _ in publisher.sent] == ["kept", "kept too"]
    assert len(rows(outside)) == 2


async def test_a_delay_counts_from_the_event(
    writer: OutboxWriter, publisher: RecordingPublisher, database: OpenDatabase, outside: sa.Engine
) -> None:
    database.now_s = lambda: 100.0
    with Session(outside) as session:
        writer.add(session, OrderWritten("o1"), defer_s=60.0)
        database.now_s = lambda: 110.0
        session.commit()
    await ended(writer)
    assert publisher.sent == [("sql-written", "o1", 50.0)]


async def test_what_nsqd_does_not_confirm_is_left_to_a_relay(
    writer: OutboxWriter, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    publisher.error = PublishError("sql-written", "127.0.0.1:1", "away", permanent=False)
    with Session(outside) as session:
        writer.add(session, OrderWritten("o1"))
        session.commit()
    await ended(writer)
    assert rows(outside) == [("sql-written", False, False)]


async def test_a_session_in_the_transaction_of_somebody_else_leaves_its_events_to_a_relay(
    writer: OutboxWriter, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    """Its commit ends nothing, so that it is not known when the events may leave."""
    with outside.begin() as connection, Session(connection, join_transaction_mode="rollback_only") as session:
        writer.add(session, OrderWritten("o1"))
        session.commit()
    await ended(writer)
    assert publisher.sent == []
    assert rows(outside) == [("sql-written", False, True)]


async def test_a_commit_after_the_end_of_the_event_loop_is_left_to_a_relay(
    settings: Settings, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    async def opened() -> OutboxWriter:
        async with OpenDatabase.opened("team", settings) as database:
            return OutboxWriter(database, publisher, Preparer(source="web", max_msg_bytes=1000))

    writer = await asyncio.to_thread(asyncio.run, opened())
    with Session(outside) as session:
        writer.add(session, OrderWritten("late"))
        session.commit()
    assert publisher.sent == []
    assert rows(outside) == [("sql-written", False, False)]


async def test_partition_key_and_sequence_are_attributes_byte_for_byte(
    writer: OutboxWriter, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    with Session(outside) as session:
        writer.add(session, OrderWritten("o1"), partition_key="ordre-é/1", sequence="0007")
        session.commit()
    await ended(writer)
    envelope = read_envelope(publisher.bodies[0])
    assert envelope is not None
    assert envelope.extensions == {"partitionkey": "ordre-é/1", "sequence": "0007"}


async def test_attributes_of_the_request_are_in_the_envelope(
    writer: OutboxWriter, publisher: RecordingPublisher, outside: sa.Engine
) -> None:
    with Session(outside) as session:
        writer.add(session, OrderWritten("o1"), attributes={"correlationid": "c1", "traceparent": "00-1"})
        session.commit()
    await ended(writer)
    envelope = read_envelope(publisher.bodies[0])
    assert envelope is not None
    assert envelope.extensions == {"correlationid": "c1", "traceparent": "00-1"}


async def test_an_event_with_a_later_time_is_left_to_a_relay_and_one_with_an_earlier_time_leaves_now(
    writer: OutboxWriter, publisher: RecordingPublisher, database: OpenDatabase, outside: sa.Engine
) -> None:
    now = datetime.fromtimestamp(database.now_s(), UTC)
    with Session(outside) as session:
        writer.add(session, OrderWritten("later"), at=now + timedelta(days=1))
        writer.add(session, OrderWritten("earlier"), at=now - timedelta(days=1))
        session.commit()
    await ended(writer)
    assert publisher.sent == [("sql-written", "earlier", 0.0)]
    with outside.connect() as connection:
        claimed = connection.exec_driver_sql(
            "SELECT claimed_until FROM nsqkit_outbox WHERE sent_at IS NULL"
        ).scalars()
        assert list(claimed) == [pytest.approx((now + timedelta(days=1)).timestamp())]


async def test_a_time_without_a_zone_is_refused(writer: OutboxWriter, outside: sa.Engine) -> None:
    with Session(outside) as session, pytest.raises(EncodeError, match="time zone"):
        writer.add(session, OrderWritten("o1"), at=datetime(2026, 12, 1))  # noqa: DTZ001 - the wrong one


async def test_what_is_no_event_is_refused(writer: OutboxWriter, outside: sa.Engine) -> None:
    with Session(outside) as session, pytest.raises(EncodeError):
        writer.add(session, "o1")  # type: ignore[arg-type]


async def test_a_program_opens_it_with_a_publisher(
    settings: Settings, publisher: Any, outside: sa.Engine
) -> None:
    async with team.outbox(publisher, settings=replace(settings, service="shop")) as outbox:
        with Session(outside) as session:
            outbox.add(session, OrderWritten("o1"))
            session.commit()
        await until(lambda: len(publisher.sent) == 1)
    assert msgspec.json.decode(publisher.bodies[0])["source"] == "shop"
    assert rows(outside) == [("sql-written", True, False)]
