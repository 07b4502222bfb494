"""Once: what a handler writes and the row of its event are one transaction, and no event is handled twice."""

import asyncio
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from nsqkit import (
    Context,
    DeadLetter,
    Discard,
    Exponential,
    Finish,
    Handler,
    HandlerError,
    Next,
    Outcome,
    Pause,
    Requeue,
    RetryPolicy,
    Settings,
    event,
)
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.handler.batch import BatchHandler
from nsqkit.loading.checks import short_retention
from nsqkit.sql import Database
from nsqkit.sql.engines import Engines
from nsqkit.sql.inbox import InboxKey
from nsqkit.sql.transaction import Transaction
from nsqkit.testing import Harness
from tests.waiting import PATIENCE_S

team = Database("team")
INSERT = sa.text("INSERT INTO effects VALUES (:id, :channel, :attempts)")
RETRY = RetryPolicy(max_attempts=3, backoff=Exponential(base_s=1, jitter="none"))

Does = Callable[[Any, Context], Outcome | None]
acts: dict[str, Does] = {}
"""What the handlers do after their write, by the event's id; called with the plain session."""
calls: list[str] = []


@event("parcel.weighed", version=1, topic="sql-once")
class ParcelWeighed(msgspec.Struct, frozen=True):
    parcel_id: str


def write(session: Any, event: ParcelWeighed, ctx: Context) -> Outcome | None:
    calls.append(event.parcel_id)
    session.execute(INSERT, {"id": event.parcel_id, "channel": ctx.channel, "attempts": ctx.attempts})
    act = acts.get(event.parcel_id)
    return act(session, ctx) if act else None


class Weigh(Handler[ParcelWeighed], channel="weigh", once=team, retry=RETRY):
    async def handle(self, event: ParcelWeighed, ctx: Context) -> Outcome | None:
        return await ctx.resource(team.session).run_sync(write, event, ctx)


class WeighPlain(Handler[ParcelWeighed], channel="weigh-plain", once=team, retry=RETRY):
    def handle(self, event: ParcelWeighed, ctx: Context) -> Outcome | None:
        return write(ctx.resource(team.plain_session), event, ctx)


class WeighBare(
    Handler[ParcelWeighed], channel="bare", once=team, event_key=lambda event: event.parcel_id, retry=RETRY
):
    async def handle(self, event: ParcelWeighed, ctx: Context) -> Outcome | None:
        return await ctx.resource(team.session).run_sync(write, event, ctx)


class WeighFleeting(Weigh, channel="weigh#ephemeral", retry=RetryPolicy(max_attempts=1)):
    """Discards its dead letters."""


class WeighFleetingPlain(WeighPlain, channel="plain#ephemeral", retry=RetryPolicy(max_attempts=1)):
    """Discards its dead letters."""


class WeighSlowly(Handler[ParcelWeighed], channel="slow", once=team, timeout_s=5, retry=RETRY):
    async def handle(self, event: ParcelWeighed, ctx: Context) -> None:
        await ctx.resource(team.session).run_sync(write, event, ctx)
        if ctx.attempts == 1:
            await asyncio.Event().wait()


KINDS = pytest.mark.parametrize("handler", [Weigh, WeighPlain])
AnyKind = type[Handler[ParcelWeighed]]
EVENT = ParcelWeighed("p1")
BODY = encode(EVENT, stamp("scales"))[1]


@pytest.fixture(autouse=True)
def _no_acts() -> Iterator[None]:
    yield
    acts.clear()
    calls.clear()


@pytest.fixture
def effects(settings: Settings, outside: sa.Engine) -> sa.Engine:
    with outside.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE effects (id TEXT, channel TEXT, attempts INTEGER, PRIMARY KEY (id, channel))"
        )
    return outside


def rows(outside: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with outside.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def effects_of(outside: sa.Engine) -> list[tuple[Any, ...]]:
    return rows(outside, "SELECT id, attempts FROM effects")


def inbox_of(outside: sa.Engine) -> list[tuple[Any, ...]]:
    return rows(outside, "SELECT topic, channel, handler, source, event_id FROM nsqkit_inbox")


def returns(outcome: Outcome | None) -> Does:
    return lambda session, ctx: outcome


@KINDS
async def test_a_duplicate_is_finished_and_its_handler_is_not_called(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    async with Harness([handler], settings=settings) as h:
        for _ in range(3):
            await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.handled(EVENT).once()
        h.duplicated(EVENT).times(2)
    assert calls == ["p1"]
    assert effects_of(effects) == [("p1", 1)]
    ((topic, channel, name, source, event_id),) = inbox_of(effects)
    assert (topic, channel, name, source) == ("sql-once", handler.spec.channel, handler.__name__, "scales")
    assert event_id == msgspec.json.decode(BODY)["id"]


async def test_each_handler_has_its_own_rows(settings: Settings, effects: sa.Engine) -> None:
    async with Harness([Weigh, WeighPlain], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.handled(EVENT).times(2)
    assert sorted(name for _, _, name, _, _ in inbox_of(effects)) == ["Weigh", "WeighPlain"]


@KINDS
@pytest.mark.parametrize("outcome", [None, Finish(), Discard("not ours")], ids=repr)
async def test_these_outcomes_commit(
    outcome: Outcome | None, handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = returns(outcome)
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
    assert (effects_of(effects), len(inbox_of(effects))) == ([("p1", 1)], 1)


def raises(session: Any, ctx: Context) -> None:
    raise ValueError("no weight")


@KINDS
@pytest.mark.parametrize(
    "act",
    [
        pytest.param(returns(Requeue(5)), id="Requeue"),
        pytest.param(returns(Pause(5)), id="Pause"),
        pytest.param(raises, id="an exception"),
    ],
)
async def test_these_outcomes_roll_back_and_the_retry_is_handled(
    act: Does, handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = lambda session, ctx: act(session, ctx) if ctx.attempts == 1 else None
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        assert (effects_of(effects), inbox_of(effects)) == ([], [])
        await h.settle(through_delays=True)
        h.handled(EVENT).once()
    assert (effects_of(effects), len(inbox_of(effects))) == ([("p1", 2)], 1)


async def test_a_timeout_rolls_back_and_the_retry_is_handled(settings: Settings, effects: sa.Engine) -> None:
    async with Harness([WeighSlowly], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle(through_delays=True)
        h.requeued(EVENT, reason="timeout").once()
        h.handled(EVENT).once()
    assert (effects_of(effects), len(inbox_of(effects))) == ([("p1", 2)], 1)


@KINDS
async def test_a_dead_letter_rolls_back_and_its_replay_is_handled(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = returns(DeadLetter("no scales"))
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.dead_lettered(EVENT).once()
        assert (effects_of(effects), inbox_of(effects)) == ([], [])
        del acts["p1"]
        await h.publish_raw(handler.spec.topics[1], BODY)
        await h.settle()
        h.handled(EVENT).once()
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.duplicated(EVENT).once()  # the replay counts as a message of the source topic
    assert effects_of(effects) == [("p1", 1)]


@pytest.mark.parametrize("handler", [WeighFleeting, WeighFleetingPlain])
@pytest.mark.parametrize("outcome", [DeadLetter("no scales"), Requeue(5)], ids=repr)
async def test_a_dead_letter_that_is_discarded_rolls_back_too(
    outcome: Outcome, handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = returns(outcome)
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.discarded(EVENT).once()
    assert (effects_of(effects), inbox_of(effects)) == ([], [])


async def test_a_failure_that_a_middleware_swallows_commits_nothing(
    settings: Settings, effects: sa.Engine
) -> None:
    async def swallow(event: Any, ctx: Context, call_next: Next) -> Outcome | None:
        try:
            return await call_next(event, ctx)
        except ValueError:
            return Finish()

    acts["p1"] = raises
    async with Harness([Weigh], settings=settings, middleware=[swallow]) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.handled(EVENT).once()
    assert (effects_of(effects), inbox_of(effects)) == ([], [])


@KINDS
async def test_a_commit_whose_answer_is_lost_fails_the_message_and_the_next_delivery_finds_out(
    handler: AnyKind, settings: Settings, effects: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Transaction.commit

    def loses_the_answer(transaction: Transaction, *, publishes: bool) -> None:
        commit(transaction, publishes=publishes)
        monkeypatch.undo()
        raise OperationalError("COMMIT", None, ConnectionResetError("server closed the connection"))

    monkeypatch.setattr(Transaction, "commit", loses_the_answer)
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle(through_delays=True)
        h.requeued(EVENT, reason="error").once()
        h.duplicated(EVENT).once()
    assert effects_of(effects) == [("p1", 1)]


class Elsewhere:
    """Another worker, which is handling an event: its transaction has the row and does not end by itself."""

    def __init__(self, outside: sa.Engine, handler: AnyKind) -> None:
        self._connection = outside.connect()
        event_id = msgspec.json.decode(BODY)["id"]
        row = ("sql-once", handler.spec.channel, handler.__name__, "scales", event_id)
        if outside.dialect.name == "sqlite":
            driver: Any = self._connection.connection.driver_connection
            driver.isolation_level = None
            self._connection.exec_driver_sql("BEGIN IMMEDIATE")
        columns = "topic, channel, handler, source, event_id, handled_at"
        values = ", ".join(map(repr, row))
        self._connection.exec_driver_sql(f"INSERT INTO nsqkit_inbox ({columns}) VALUES ({values}, 1)")  # noqa: S608

    def end(self, statement: str) -> bool:
        self._connection.exec_driver_sql(statement)
        self._connection.close()
        return True


@KINDS
@pytest.mark.parametrize(
    ("statement", "outcome"),
    [
        pytest.param("COMMIT", "duplicate", id="it commits"),
        pytest.param("ROLLBACK", "success", id="it rolls back"),
    ],
)
async def test_an_event_that_another_worker_handles_waits_for_it(
    statement: str, outcome: str, handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    other, begins = Elsewhere(effects, handler), threading.Event()
    begin = Transaction.begin

    def waits(transaction: Transaction, key: InboxKey, ctx: Context) -> None:
        begins.set()
        begin(transaction, key, ctx)

    with ThreadPoolExecutor(1) as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "begin", waits)
        ended = pool.submit(lambda: begins.wait(PATIENCE_S) and other.end(statement))
        async with Harness([handler], settings=settings) as h:
            await h.publish_raw("sql-once", BODY)
            await h.settle()
            (h.duplicated if outcome == "duplicate" else h.handled)(EVENT).once()
        ended.result(PATIENCE_S)


@KINDS
async def test_an_event_that_another_worker_handles_for_long_is_requeued(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    other = Elsewhere(effects, handler)
    impatient = Settings(app=settings.app, lock_timeout_s=0.1)
    async with Harness([handler], settings=impatient) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.requeued(EVENT, reason="requested").once()
        assert calls == []
        other.end("COMMIT")
        await h.settle(through_delays=True)
        h.duplicated(EVENT).once()


async def test_an_event_without_an_envelope_is_known_by_its_event_key(
    settings: Settings, effects: sa.Engine
) -> None:
    async with Harness([WeighBare], settings=settings) as h:
        for _ in range(2):
            await h.publish_raw("sql-once", b'{"parcel_id": "p1"}')
        await h.settle()
        h.handled(EVENT).once()
        h.duplicated(EVENT).once()
    assert [row[3:] for row in inbox_of(effects)] == [("", "p1")]


@KINDS
async def test_an_event_without_an_envelope_is_refused_without_an_event_key(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", b'{"parcel_id": "p1"}')
        await h.settle()
        assert "add event_key=" in h.dead_lettered(EVENT).once().detail
    assert calls == []


async def test_an_event_key_that_is_empty_fails_the_message(settings: Settings, effects: sa.Engine) -> None:
    async with Harness([WeighBare], settings=settings) as h:
        await h.publish_raw("sql-once", b'{"parcel_id": ""}')
        await h.settle()
        assert "event_key of WeighBare returned ''" in h.requeued().once().detail


@pytest.mark.parametrize("event_id", ["x" * 5000, "a\\u0000b"], ids=["a long one", "one with NUL"])
async def test_any_event_id_can_be_stored(event_id: str, settings: Settings, effects: sa.Engine) -> None:
    real = msgspec.json.decode(BODY)["id"]
    async with Harness([Weigh], settings=settings) as h:
        for _ in range(2):
            await h.publish_raw("sql-once", BODY.replace(real.encode(), event_id.encode()))
        await h.settle()
        h.handled(EVENT).once()
        h.duplicated(EVENT).once()
    assert inbox_of(effects)[0][4].startswith("sha256:")


def commits_and_fails(session: Any, ctx: Context) -> None:
    session.commit()
    if ctx.attempts == 1:
        raise ValueError("after its commit")


def rolls_back(session: Any, ctx: Context) -> None:
    if ctx.attempts == 1:
        session.rollback()


@KINDS
async def test_a_commit_of_the_handler_ends_no_transaction(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = commits_and_fails
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        assert (effects_of(effects), inbox_of(effects)) == ([], [])
        await h.settle(through_delays=True)
        h.handled(EVENT).once()
    assert effects_of(effects) == [("p1", 2)]


@KINDS
async def test_a_rollback_of_the_handler_fails_the_message(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = rolls_back
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle(through_delays=True)
        assert "session.begin_nested()" in h.requeued(EVENT).once().detail
        h.handled(EVENT).once()
    assert effects_of(effects) == [("p1", 2)]


def catches_an_error(session: Any, ctx: Context) -> None:
    with pytest.raises(IntegrityError):
        session.execute(INSERT, {"id": "p1", "channel": ctx.channel, "attempts": 0})


def has_a_savepoint(session: Any, ctx: Context) -> None:
    with pytest.raises(IntegrityError), session.begin_nested():
        session.execute(INSERT, {"id": "p1", "channel": ctx.channel, "attempts": 0})


@KINDS
async def test_an_error_that_the_handler_catches_loses_no_writes_silently(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    """PostgreSQL answers the commit of a failed transaction with a rollback; SQLite undoes one statement."""
    acts["p1"] = catches_an_error
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        if effects.dialect.name == "sqlite":
            h.handled(EVENT).once()
            return
        assert "session.begin_nested()" in h.requeued(EVENT).once().detail
    assert (effects_of(effects), inbox_of(effects)) == ([], [])


@KINDS
async def test_an_error_in_a_savepoint_may_be_caught(
    handler: AnyKind, settings: Settings, effects: sa.Engine
) -> None:
    acts["p1"] = has_a_savepoint
    async with Harness([handler], settings=settings) as h:
        await h.publish_raw("sql-once", BODY)
        await h.settle()
        h.handled(EVENT).once()
    assert effects_of(effects) == [("p1", 1)]


@pytest.mark.parametrize("inbox_retention_s", [3600, 604_800])
def test_a_retention_below_retries_and_replay_is_a_warning(inbox_retention_s: int) -> None:
    found = short_retention([Weigh.spec], Settings(inbox_retention_s=inbox_retention_s))
    assert len(found) == (1 if inbox_retention_s < 86_400 else 0)
    assert all("Weigh: once=… remembers an event for inbox_retention_s=3600, but" in each for each in found)


@pytest.mark.parametrize("handler", [WeighSlowly, WeighPlain])
async def test_no_connection_is_left_behind(handler: AnyKind, settings: Settings, effects: sa.Engine) -> None:
    """However a message ends: by success, failure, or the cancellation of a timeout."""
    acts["p1"] = lambda session, ctx: raises(session, ctx) if ctx.attempts == 1 else None
    engines: list[Engines] = []
    init = Engines.__init__

    def keeps(self: Engines, *args: Any, **options: Any) -> None:
        engines.append(self)
        init(self, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engines, "__init__", keeps)
        async with Harness([handler], settings=settings) as h:
            await h.publish_raw("sql-once", BODY)
            await h.settle(through_delays=True)
            h.handled(EVENT).once()
            (opened,) = engines
            pools: list[Any] = [opened.on_loop.sync_engine.pool, opened.plain.pool]
            assert [pool.checkedout() for pool in pools] == [0, 0]


@pytest.mark.parametrize(
    ("base", "options", "problem"),
    [
        pytest.param(
            Handler, {"once": "team"}, "once=.team. is not a database; write once=Database", id="text"
        ),
        pytest.param(Handler, {"once": Database}, "is not a database", id="a class"),
        pytest.param(Handler, {"event_key": str}, "event_key is for once=", id="event_key alone"),
        pytest.param(
            Handler, {"once": team, "event_key": "id"}, "event_key='id' is not a function", id="a name"
        ),
        pytest.param(
            Handler, {"once": team, "run_on_loop": True}, "would block the event loop", id="on the loop"
        ),
        pytest.param(
            BatchHandler, {"once": team, "run_on_loop": True}, "would block the event loop", id="a batch"
        ),
    ],
)
def test_what_cannot_be_once_is_refused_at_load(base: Any, options: dict[str, Any], problem: str) -> None:
    def handle(self: Any, event: Any, ctx: Any = None) -> None: ...

    keywords = {"channel": "x", **options}
    with pytest.raises(HandlerError, match=problem):
        types.new_class("Wrong", (base[ParcelWeighed],), keywords, lambda names: names.update(handle=handle))
