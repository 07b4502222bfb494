"""Requeue: a delay longer than nsqd keeps is a row until it is due, and each delivery of it is an attempt."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
import structlog
from structlog.testing import capture_logs

from nsqkit import (
    BatchHandler,
    Context,
    DeadLetter,
    Delivery,
    Discard,
    Exponential,
    Handler,
    Next,
    Outcome,
    Pause,
    Publisher,
    Requeue,
    RetryPolicy,
    Settings,
    Worker,
    event,
)
from nsqkit.devbroker import DevBroker
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.loading.checks import check
from nsqkit.sql import Database
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.relay import Relay
from nsqkit.sql.testing import relayed
from nsqkit.testing import Harness
from tests.waiting import until

team = Database("team")
INSERT = sa.text("INSERT INTO effects VALUES (:id, :attempts)")
RETRY = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=1, jitter="none"))
DAY_S = 86_400.0
TOMORROW = Requeue(DAY_S)

ends: dict[str, list[Any]] = {}
"""How the calls for a letter end, in order, by its id: an outcome or an exception; then a success."""
seen: list[tuple[str, int]] = []
"""The letter and the attempt of each call."""


@event("letter.sorted", version=1, topic="sql-requeues")
class LetterSorted(msgspec.Struct, frozen=True):
    letter_id: str


@event("letter.shelved", version=1, topic="sql-requeues-shelved")
class LetterShelved(msgspec.Struct, frozen=True):
    letter_id: str


def shelve(session: Any, event: LetterSorted, ctx: Context) -> Outcome | None:
    seen.append((event.letter_id, ctx.attempts))
    session.execute(INSERT, {"id": event.letter_id, "attempts": ctx.attempts})
    ctx.publish(LetterShelved(event.letter_id))
    left = ends.get(event.letter_id)
    end: Any = left.pop(0) if left else None
    if isinstance(end, Exception):
        raise end
    return end  # type: ignore[no-any-return]


class Shelve(Handler[LetterSorted], channel="shelve", once=team, retry=RETRY):
    async def handle(self, event: LetterSorted, ctx: Context) -> Outcome | None:
        return await ctx.resource(team.session).run_sync(shelve, event, ctx)


class ShelvePlain(Handler[LetterSorted], channel="shelve-plain", once=team, retry=RETRY):
    def handle(self, event: LetterSorted, ctx: Context) -> Outcome | None:
        return shelve(ctx.resource(team.plain_session), event, ctx)


class ShelveAll(
    BatchHandler[LetterSorted], channel="shelve-all", max_messages=3, max_wait_s=0.01, once=team, retry=RETRY
):
    async def handle(self, batch: Sequence[Delivery[LetterSorted]]) -> Mapping[str, Outcome]:
        session = batch[0].ctx.resource(team.session)
        ended = {each.key: await session.run_sync(shelve, each.event, each.ctx) for each in batch}
        return {key: outcome for key, outcome in ended.items() if outcome is not None}


class ShelveSoon(Shelve, channel="shelve-soon", retry=replace(RETRY, backoff=Exponential(0.01, max_s=0.01))):
    """Retries fit into the shortest of limits."""


class ShelveFleeting(Shelve, channel="shelve-fleeting", dead_letters=False):
    """Has no topic of its own, to which a row could be published."""


class ShelveEveryTime(Handler[LetterSorted], channel="shelve-every-time", uses=[team.session], retry=RETRY):
    async def handle(self, event: LetterSorted, ctx: Context) -> Outcome | None:
        return await ctx.resource(team.session).run_sync(shelve, event, ctx)


EACH = pytest.mark.parametrize("handler", [Shelve, ShelvePlain])
ALL = pytest.mark.parametrize("handler", [Shelve, ShelvePlain, ShelveAll])
AnyKind = type[Any]
EVENT = LetterSorted("p1")


def body(letter_id: str = "p1") -> bytes:
    return encode(LetterSorted(letter_id), stamp("scales"))[1]


BODY = body()


@pytest.fixture(autouse=True)
def _no_ends() -> Iterator[None]:
    yield
    ends.clear()
    seen.clear()


@pytest.fixture
def effects(settings: Settings, outside: sa.Engine) -> sa.Engine:
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effects (id TEXT PRIMARY KEY, attempts INTEGER)")
    return outside


def rows(outside: sa.Engine, query: str) -> list[Any]:
    with outside.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def effects_of(outside: sa.Engine) -> list[Any]:
    return rows(outside, "SELECT id, attempts FROM effects ORDER BY id")


def waiting(outside: sa.Engine) -> list[Any]:
    found = rows(outside, "SELECT topic, body, due_at FROM nsqkit_outbox WHERE sent_at IS NULL ORDER BY id")
    return [(topic, bytes(each), due_at) for topic, each, due_at in found]


async def publish(h: Harness, *bodies: bytes, topic: str = "sql-requeues") -> None:
    for each in bodies or (BODY,):
        await h.publish_raw(topic, each)
    await h.settle()


async def wait(h: Harness, for_s: float = DAY_S) -> int:
    """Let time pass, with a relay."""
    h.clock.advance(for_s + 1.0)
    return await relayed(h, team)


@ALL
async def test_a_requeue_for_a_day_is_a_row_and_the_message_is_finished(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends["p1"] = [TOMORROW]
    async with Harness([handler], settings=settings) as h:
        now_s = h.wall_clock.now_s()
        await publish(h)
        h.requeued(EVENT, delay_s=DAY_S, reason="scheduled").once()
        h.published(LetterShelved).never()
        ((topic, stored, due_s),) = waiting(effects)
        assert (topic, stored) == (handler.spec.topics[1], BODY)
        assert due_s == pytest.approx(now_s + DAY_S, abs=1.0)
        assert effects_of(effects) == []
        assert await wait(h, DAY_S / 2) == 0
        assert await wait(h, DAY_S / 2) == 1
        h.handled(EVENT).once()
        h.published(LetterShelved).once()
        await publish(h)
        h.duplicated(EVENT).once()
    assert effects_of(effects) == [("p1", 2)]


@ALL
async def test_a_handler_that_always_asks_for_another_day_is_exhausted_after_its_attempts(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends["p1"] = [TOMORROW] * 9
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        assert [await wait(h) for _ in range(3)] == [1, 1, 0]
        assert h.dead_lettered(EVENT, reason="exhausted").once().attempts == 3
    assert seen == [("p1", 1), ("p1", 2), ("p1", 3)]
    assert effects_of(effects) == []


@EACH
async def test_the_replay_of_an_exhausted_message_begins_again(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends["p1"] = [TOMORROW] * 4
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        assert [await wait(h) for _ in range(2)] == [1, 1]
        await publish(h, topic=handler.spec.topics[1])
        assert await wait(h) == 1
    assert seen[3:] == [("p1", 1), ("p1", 2)]
    assert effects_of(effects) == [("p1", 2)]


@ALL
@pytest.mark.parametrize("end", [ValueError("torn"), Requeue(5)], ids=repr)
async def test_a_retry_in_nsqd_counts_on(
    end: Any, handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends["p1"] = [TOMORROW, end, TOMORROW]
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        await wait(h)
        await h.settle(through_delays=True)
        h.dead_lettered(EVENT, reason="exhausted").once()
    attempts = [attempt for _, attempt in seen]
    assert list(dict.fromkeys(attempts)) == [1, 2, 3]
    assert effects_of(effects) == []


@ALL
async def test_a_copy_that_comes_before_the_time_is_a_duplicate(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    """Such as a message that nsqd delivers again, since its worker died between the commit and FIN."""
    ends["p1"] = [TOMORROW]
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        await publish(h)
        h.duplicated(EVENT).once()
        assert len(waiting(effects)) == 1
        assert await wait(h) == 1
        h.handled(EVENT).once()
    assert seen == [("p1", 1), ("p1", 2)]


@ALL
async def test_a_copy_that_comes_after_the_time_is_handled_in_place_of_the_row(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    ends["p1"] = [TOMORROW]
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        h.clock.advance(DAY_S + 1.0)
        await h.settle()
        await publish(h)
        h.handled(EVENT).once()
        await relayed(h, team)
        h.duplicated(EVENT).once()
    assert effects_of(effects) == [("p1", 2)]


@ALL
async def test_the_message_of_a_row_is_never_early(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    """The relay's clock decides; this worker's may be behind it."""
    ends["p1"] = [TOMORROW]
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        await publish(h, topic=handler.spec.topics[1])
        h.handled(EVENT).once()
    assert effects_of(effects) == [("p1", 2)]


async def test_a_copy_that_another_worker_handles_meanwhile_leaves_no_row(
    settings: Settings, effects: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing keeps others out between the rollback and the row: then nsqd requeues, and finds a copy."""
    ends["p1"] = [TOMORROW]
    event_id = msgspec.json.decode(BODY)["id"]
    handled = f"('sql-requeues', 'shelve', 'Shelve', 'scales', '{event_id}', 1.0)"
    begins = "nsqkit.sql.transaction.limit"
    columns = "topic, channel, handler, source, event_id, handled_at"

    def elsewhere(connection: sa.Connection, _lock_timeout_s: float) -> None:
        connection.exec_driver_sql(f"INSERT INTO nsqkit_inbox ({columns}) VALUES {handled}")  # noqa: S608

    monkeypatch.setattr(begins, elsewhere)
    async with Harness([Shelve], settings=settings) as h:
        await publish(h)
        h.requeued(EVENT, delay_s=900.0).once()
        assert waiting(effects) == []
        await h.settle(through_delays=True)
        h.duplicated(EVENT).once()


async def test_members_of_a_batch_end_each_in_its_own_way(settings: Settings, effects: sa.Engine) -> None:
    ends.update(p1=[TOMORROW], p2=[Discard()], p3=[Requeue(5)])
    async with Harness([ShelveAll], settings=settings) as h:
        await publish(h, body("p1"), body("p2"), body("p3"))
        h.requeued(LetterSorted("p1"), delay_s=DAY_S).once()
        h.discarded(LetterSorted("p2")).once()
        h.requeued(LetterSorted("p3"), delay_s=5.0).once()
        assert [topic for topic, _, _ in waiting(effects)] == [ShelveAll.spec.topics[1]]
    assert rows(effects, "SELECT count(*) FROM nsqkit_inbox WHERE attempts IS NULL") == [(1,)]


@pytest.mark.parametrize(
    ("handler", "end"),
    [
        pytest.param(ShelveFleeting, TOMORROW, id="a handler without dead letters has no topic of its own"),
        pytest.param(ShelveEveryTime, TOMORROW, id="a handler without once="),
        pytest.param(Shelve, Pause(DAY_S), id="a pause"),
    ],
)
async def test_other_long_delays_are_cut(
    handler: AnyKind, end: Outcome, settings: Settings, effects: sa.Engine
) -> None:
    ends["p1"] = [end]
    async with Harness([handler], settings=settings) as h:
        await publish(h)
        h.requeued(EVENT, delay_s=900.0).once()
        assert waiting(effects) == []


async def test_what_a_middleware_makes_of_it_counts(settings: Settings, effects: sa.Engine) -> None:
    async def gives_up(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        await call_next(event, ctx)
        return DeadLetter("not tomorrow")

    ends["p1"] = [TOMORROW]
    async with Harness([Shelve], settings=settings, middleware=[gives_up]) as h:
        await publish(h)
        h.dead_lettered(EVENT).once()
    assert (waiting(effects), rows(effects, "SELECT * FROM nsqkit_inbox")) == ([], [])


async def test_a_worker_and_a_relay_bring_a_message_back_through_nsqd(
    settings: Settings, effects: sa.Engine, broker: DevBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nsqkit.sql.relay.POLL_S", 0.02)
    ends["p1"] = [Requeue(0.2), Requeue(0.2)]
    options = replace(settings, nsqd=(broker.tcp_address,), admin_port=0, max_requeue_delay_s=0.05)
    stop = asyncio.Event()
    async with (
        Worker([ShelveSoon], settings=options) as worker,
        Publisher(settings=options) as publisher,
        OpenDatabase.opened("team", options) as database,
    ):
        await worker.wait_ready()
        await publisher.publish_raw("sql-requeues", BODY)
        relay = Relay(database, publisher, lease_s=30.0, log=structlog.get_logger())
        running = asyncio.create_task(relay.run(stop))
        await until(lambda: effects_of(effects) == [("p1", 3)])
        stop.set()
        await running
    assert seen == [("p1", 1), ("p1", 2), ("p1", 3)]
    assert relay.swept.sent == 2


async def test_it_is_logged_with_its_whole_delay(settings: Settings, effects: sa.Engine) -> None:
    structlog.reset_defaults()
    ends["p1"] = [TOMORROW, TOMORROW]
    with capture_logs() as lines:
        async with Harness([Shelve], settings=settings) as h:
            await publish(h)
            await wait(h)
    settled = [line for line in lines if line["event"] == "message_settled"]
    assert [(line["outcome"], line["delay_s"], line["attempts"]) for line in settled] == [
        ("requeue", DAY_S, 1),
        ("requeue", DAY_S, 2),
    ]
    assert "requeue_delay_clamped" not in {line["event"] for line in lines}


def test_a_backoff_that_nsqd_does_not_keep_is_refused_with_the_way_to_wait_longer(settings: Settings) -> None:
    limits = replace(settings, max_requeue_delay_s=1.0)
    (problem,) = check([Shelve.spec], [], limits)
    assert problem.endswith(
        "lower max_s of its backoff, or the delay of its rule; to wait longer, return Requeue(delay_s), "
        "which once= makes a row"
    )
    assert "once=" not in check([ShelveEveryTime.spec], [], limits)[0]
