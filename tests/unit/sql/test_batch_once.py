"""Batch once: the events of one call, what it writes and what it publishes are one transaction."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nsqkit import (
    BatchHandler,
    Context,
    DeadLetter,
    Delivery,
    Discard,
    Exponential,
    Next,
    Outcome,
    Requeue,
    RetryPolicy,
    Settings,
    event,
)
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.loading.describe import table
from nsqkit.sql import Database, inbox
from nsqkit.sql.inbox import InboxKey
from nsqkit.testing import Harness
from tests.unit.sql.apart import apart
from tests.waiting import PATIENCE_S

team = Database("team")
INSERT = sa.text("INSERT INTO effects VALUES (:id, :size)")
RETRY = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=1, jitter="none"))

calls: list[list[str]] = []
"""The parcels of each call."""
ends: dict[str, Any] = {}
"""How a parcel ends: an outcome, or an exception that its call raises."""


@event("parcel.tallied", version=1, topic="sql-batches")
class ParcelTallied(msgspec.Struct, frozen=True):
    parcel_id: str


@event("tally.written", version=1, topic="sql-tallies")
class TallyWritten(msgspec.Struct, frozen=True):
    parcel_id: str


Batch = Sequence[Delivery[ParcelTallied]]


def tally(session: Any, batch: Batch) -> dict[str, Outcome]:
    calls.append([each.event.parcel_id for each in batch])
    session.execute(INSERT, [{"id": each.event.parcel_id, "size": len(batch)} for each in batch])
    outcomes: dict[str, Outcome] = {}
    for each in batch:
        each.ctx.publish(TallyWritten(each.event.parcel_id))
        end = ends.get(each.event.parcel_id)
        if isinstance(end, Exception):
            raise end
        if end is not None:
            outcomes[each.key] = end
    return outcomes


class Tally(BatchHandler[ParcelTallied], channel="tally", max_messages=3, once=team, retry=RETRY):
    async def handle(self, batch: Batch) -> Mapping[str, Outcome]:
        return await batch[0].ctx.resource(team.session).run_sync(tally, batch)


class TallyPlain(BatchHandler[ParcelTallied], channel="tally-plain", max_messages=3, once=team, retry=RETRY):
    def handle(self, batch: Batch) -> Mapping[str, Outcome]:
        return tally(batch[0].ctx.resource(team.plain_session), batch)


class TallyBare(Tally, channel="bare", event_key=lambda event: event.parcel_id):
    """Takes events without an envelope."""


KINDS = pytest.mark.parametrize("handler", [Tally, TallyPlain])
AnyKind = type[BatchHandler[ParcelTallied]]


def body(parcel_id: str) -> bytes:
    return encode(ParcelTallied(parcel_id), stamp("scales"))[1]


@pytest.fixture(autouse=True)
def _no_ends() -> Iterator[None]:
    yield
    ends.clear()
    calls.clear()


@pytest.fixture
def effects(settings: Settings, outside: sa.Engine) -> sa.Engine:
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effects (id TEXT PRIMARY KEY, size INTEGER)")
    return outside


def rows(outside: sa.Engine, query: str) -> list[Any]:
    with outside.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def effects_of(outside: sa.Engine) -> list[Any]:
    return rows(outside, "SELECT id, size FROM effects ORDER BY id")


def inbox_size(outside: sa.Engine) -> int:
    return len(rows(outside, "SELECT 1 FROM nsqkit_inbox"))


def left_in_outbox(outside: sa.Engine) -> int:
    return len(rows(outside, "SELECT 1 FROM nsqkit_outbox WHERE sent_at IS NULL"))


async def publish(h: Harness, *bodies: bytes) -> None:
    for each in bodies:
        await h.publish_raw("sql-batches", each)
    await h.settle()


@KINDS
async def test_a_batch_is_one_transaction_with_its_events(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    async with Harness([handler], settings=settings) as h:
        await publish(h, body("p1"), body("p2"), body("p3"))
        h.handled(ParcelTallied).times(3)
        h.published(TallyWritten).times(3)
    assert effects_of(effects) == [("p1", 3), ("p2", 3), ("p3", 3)]
    assert (inbox_size(effects), left_in_outbox(effects)) == (3, 0)


@KINDS
async def test_members_that_were_handled_before_are_left_out(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    first, second, third = body("p1"), body("p2"), body("p3")
    async with Harness([handler], settings=settings) as h:
        await publish(h, first)
        await publish(h, first, second, second)
        await publish(h, first, third)
        await publish(h, first, second, third)
        assert calls == [["p1"], ["p2"], ["p3"]]
        h.handled(ParcelTallied).times(3)
        h.duplicated(ParcelTallied).times(6)
        h.published(TallyWritten).times(3)
    assert effects_of(effects) == [("p1", 1), ("p2", 1), ("p3", 1)]


@KINDS
@pytest.mark.parametrize(
    ("end", "kept"), [(Discard(), 3), (Requeue(5), 2), (DeadLetter("torn"), 2)], ids=repr
)
async def test_a_member_that_is_not_finished_or_discarded_gets_no_row(
    end: Outcome, kept: int, handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    """What the handler wrote for it stays, as a part of the transaction."""
    ends["p2"] = end
    async with Harness([handler], settings=settings) as h:
        await publish(h, body("p1"), body("p2"), body("p3"))
        h.published(TallyWritten("p2")).never()
        h.published(TallyWritten).times(2)
    assert inbox_size(effects) == kept
    assert effects_of(effects) == [("p1", 3), ("p2", 3), ("p3", 3)]


@KINDS
async def test_a_batch_of_which_nothing_is_finished_is_rolled_back(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends.update(p1=Requeue(5), p2=DeadLetter("torn"))
    async with Harness([handler], settings=settings) as h:
        await publish(h, body("p1"), body("p2"))
        assert (effects_of(effects), inbox_size(effects)) == ([], 0)
        del ends["p1"]
        await h.settle(through_delays=True)
    assert (effects_of(effects), inbox_size(effects)) == ([("p1", 1)], 1)


@KINDS
async def test_a_raise_rolls_back_and_each_member_is_handled_in_a_transaction_of_its_own(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends["p2"] = ValueError("torn")
    async with Harness([handler], settings=settings) as h:
        await publish(h, body("p1"), body("p2"), body("p3"))
        assert calls == [["p1", "p2", "p3"], ["p1"], ["p2"], ["p3"]]
        h.requeued(ParcelTallied("p2"), reason="error").once()
        h.published(TallyWritten("p2")).never()
        assert effects_of(effects) == [("p1", 1), ("p3", 1)]
        ends.clear()
        await h.settle(through_delays=True)
        h.handled(ParcelTallied).times(3)
        h.published(TallyWritten).times(3)
    assert (inbox_size(effects), left_in_outbox(effects)) == (3, 0)


@KINDS
@pytest.mark.parametrize("returned", [Requeue(5), {"nobody": Requeue(5)}, {"1": 5}], ids=repr)
async def test_what_is_no_outcome_rolls_back(
    returned: Any,
    handler: AnyKind,
    settings: Settings,
    effects: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = tally
    monkeypatch.setitem(globals(), "tally", lambda *given: (real(*given), returned)[1])
    async with Harness([handler], settings=settings) as h:
        await publish(h, body("p1"))
        h.requeued(ParcelTallied, reason="error").once()
    assert (effects_of(effects), inbox_size(effects)) == ([], 0)


@KINDS
async def test_events_of_a_failed_commit_that_a_middleware_swallows_do_not_leave(
    handler: AnyKind, settings: Settings, effects: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def swallow(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        with contextlib.suppress(OperationalError):
            return await call_next(event, ctx)
        return None

    def fails(*_: Any) -> None:
        raise OperationalError("COMMIT", None, ConnectionError("away"))

    monkeypatch.setattr("nsqkit.sql.transaction.Transaction._require_usable", fails)
    async with Harness([handler], settings=settings, middleware=[swallow]) as h:
        await publish(h, body("p1"))
        h.published(TallyWritten).never()
    assert (effects_of(effects), inbox_size(effects), left_in_outbox(effects)) == ([], 0, 0)


async def test_a_bare_event_is_known_by_its_key_and_without_one_is_a_dead_letter(
    settings: Settings, effects: sa.Engine
) -> None:
    bare = b'{"parcel_id": "p1"}'
    async with Harness([TallyBare], settings=settings) as h:
        await publish(h, bare, bare)
        await publish(h, bare)
        h.handled(ParcelTallied).once()
        h.duplicated(ParcelTallied).times(2)
    async with Harness([Tally], settings=settings) as h:
        await publish(h, bare, body("p2"))
        assert "add event_key=" in h.dead_lettered(ParcelTallied("p1"), reason="requested").once().detail
    assert effects_of(effects) == [("p1", 1), ("p2", 1)]


@KINDS
async def test_a_member_that_another_transaction_is_handling_too_long_is_requeued(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    """SQLite lets no other transaction begin, so every member waits there."""
    own = body("p1")
    event_id = msgspec.json.decode(own)["id"]
    key = InboxKey("sql-batches", handler.spec.channel, handler.spec.name, "scales", event_id)
    with effects.begin() as connection:
        apart(inbox.add)(connection, key, now_s=1.0, lock_timeout_s=PATIENCE_S)
        async with Harness([handler], settings=replace(settings, lock_timeout_s=0.05)) as h:
            await publish(h, own, body("p2"))
            h.requeued(ParcelTallied("p1"), reason="requested").once()
            is_alone = effects.dialect.name == "sqlite"
            h.requeued(ParcelTallied).times(2 if is_alone else 1)
            connection.rollback()
            await h.settle(through_delays=True)
            h.handled(ParcelTallied).times(2)
    assert inbox_size(effects) == 2


def test_the_table_of_handlers_names_the_database() -> None:
    (row,) = table([Tally.spec])
    assert (row.once, row.middleware, row.uses) == ("team", (), ())
