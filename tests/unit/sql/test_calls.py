"""How many function calls ``once=`` and a published event add to a handler that commits a row anyway.

Calls are counted, as in tests/unit/test_hot_path.py, because time is noise on a shared machine.
"""

import itertools
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from psycopg import waiting

from nsqkit import Context, Handler, Settings, Worker, event
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.handler.context import Detached
from nsqkit.handler.outgoing import Preparer
from nsqkit.runtime.dispatch import Dispatcher
from nsqkit.sql import Database
from tests.unit.test_hot_path import counting

MOST_CALLS = 129
"""Calls that ``once=`` and an event may add to a message.

Lower it when the path gets shorter. Raising it takes a decision record in docs/adr.
"""
ROUNDS = 10
NOBODY = "127.0.0.1:1"  # no nsqd: the messages are the test's

team = Database("team")
INSERT = sa.text("INSERT INTO effects VALUES (:id)")
numbers = itertools.count()


@event("crate.packed", version=1, topic="sql-calls")
class CratePacked(msgspec.Struct, frozen=True):
    crate_id: str


@event("crate.left", version=1, topic="sql-calls-left")
class CrateLeft(msgspec.Struct, frozen=True):
    crate_id: str


class Pack(Handler[CratePacked], channel="pack", uses=[team.session]):
    async def handle(self, event: CratePacked, ctx: Context) -> None:
        await ctx.resource(team.session).execute(INSERT, {"id": event.crate_id})


class PackOnce(Handler[CratePacked], channel="pack-once", once=team):
    async def handle(self, event: CratePacked, ctx: Context) -> None:
        await ctx.resource(team.session).execute(INSERT, {"id": event.crate_id})
        ctx.publish(CrateLeft(event.crate_id))


class Delivered(Detached):
    """A delivery whose worker is long since started."""

    preparer = Preparer(source="packers", max_msg_bytes=1_048_576)


async def answered(statement: Any, socket: int, **limits: Any) -> Any:
    """Wait for an answer without the event loop, whose turns depend on how fast the server is."""
    return waiting.wait(statement, socket, **limits)


async def calls_of_a_message(dispatcher: Dispatcher) -> int:
    """Return how many calls a handler makes for a message, from its context to nsqd's OK for its event."""
    packed, stamped = CratePacked(str(next(numbers))), stamp("packers")
    body = encode(packed, stamped)[1]
    ctx = Context(
        topic="sql-calls", channel="pack", body=body, event_id=stamped.event_id, delivery=Delivered()
    )
    with counting() as calls:
        await dispatcher.call(packed, ctx)
        for each in ctx.outgoing:
            each.done(None)
    return calls[0]


async def fewest_calls(handler: type[Handler[CratePacked]], settings: Settings) -> int:
    """Return the calls of the round with the fewest: what comes on top is not the message's."""
    worker = Worker([handler], settings=replace(settings, nsqd=(NOBODY,), admin_port=0))
    await worker.start()
    try:
        dispatcher = worker._subscriptions[0].dispatcher
        assert isinstance(dispatcher, Dispatcher)
        return min([await calls_of_a_message(dispatcher) for _ in range(ROUNDS)])
    finally:
        await worker.stop()


@pytest.mark.parametrize("url", [pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True)
async def test_once_and_an_event_add_no_more_calls_than_they_may(
    settings: Settings, outside: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "wait_async", answered)
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effects (id TEXT)")
    added = await fewest_calls(PackOnce, settings) - await fewest_calls(Pack, settings)
    assert added <= MOST_CALLS, f"{added} calls added"
