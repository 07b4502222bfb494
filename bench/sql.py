"""SQL: the CPU and the rate of handlers that write to PostgreSQL, next to the bare driver."""

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import msgspec
import psycopg
from sqlalchemy import text

from bench.broker import CHANNEL, Broker
from bench.report import Table
from nsqkit import BatchHandler, Context, Delivery, Handler, Settings, Worker, event
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.sql import Database
from tests import postgres

NOT_COUNTED = 500
"""Messages of a second run, which takes the cost of start and stop away."""
CONNECTIONS = 10
IN_BATCH = 500
TOPIC = "bench_sql"
EFFECT = text("INSERT INTO effects VALUES (:id)")
ROWS = """
    WITH seen AS (
        INSERT INTO nsqkit_inbox (topic, channel, handler, source, event_id, handled_at)
        VALUES ('orders', 'bench', 'Bare', 'bench', %(id)s, 1.0) ON CONFLICT DO NOTHING
    ), effect AS (
        INSERT INTO effects VALUES (%(id)s)
    )
    INSERT INTO nsqkit_outbox (topic, body, created_at, due_at, claimed_until)
    VALUES ('done', %(body)s, 1.0, 1.0, 31.0) RETURNING id
"""
DRIVER: Mapping[str, tuple[str, bool]] = {
    "bare driver, one row": ("INSERT INTO effects VALUES (%(id)s)", True),
    "bare driver, three rows in one statement": (ROWS, True),
    "the same between BEGIN and COMMIT": (ROWS, False),
}
"""Statements of the bare driver, and whether they are their own transaction."""

database = Database("bench")


@event("bench.ordered", version=1, topic=TOPIC)
class Ordered(msgspec.Struct, frozen=True):
    """What the handlers handle."""

    order_id: str


@event("bench.done", version=1, topic=f"{TOPIC}_done")
class Done(msgspec.Struct, frozen=True):
    """What the handlers publish."""

    order_id: str


class Writes(Handler[Ordered], channel=CHANNEL, uses=[database.session]):
    """Commits one row."""

    async def handle(self, event: Ordered, ctx: Context) -> None:
        """Write the row."""
        await ctx.resource(database.session).execute(EFFECT, {"id": event.order_id})


class WritesAndPublishes(Writes, channel=CHANNEL):
    """Commits one row, and publishes an event without an outbox."""

    async def handle(self, event: Ordered, ctx: Context) -> None:
        """Write the row, and publish the event."""
        await super().handle(event, ctx)
        ctx.publish(Done(event.order_id))


class Once(WritesAndPublishes, channel=CHANNEL, once=database):
    """Commits three rows: its own, and those of the inbox and the outbox."""


class OnceInBatches(
    BatchHandler[Ordered], channel=CHANNEL, once=database, max_messages=IN_BATCH, max_in_flight=2 * IN_BATCH
):
    """Commits three rows for each message, and many messages at once."""

    async def handle(self, batch: Sequence[Delivery[Ordered]]) -> None:
        """Write the rows, and publish the events."""
        session = batch[0].ctx.resource(database.session)
        await session.execute(EFFECT, [{"id": each.event.order_id} for each in batch])
        for each in batch:
            each.ctx.publish(Done(each.event.order_id))


HANDLERS: Mapping[str, type[Any]] = {
    "handler that writes a row": Writes,
    "the same, and publishes an event": WritesAndPublishes,
    "the same with once=": Once,
    f"the same in batches of {IN_BATCH}": OnceInBatches,
}


@dataclass(frozen=True, slots=True)
class Spent:
    """What some messages have taken.

    Args:
        cpu_s: CPU time of this process, seconds.
        wall_s: Time, seconds.
    """

    cpu_s: float
    wall_s: float


def measure(broker: Broker, messages: int, rounds: int) -> str:
    """Measure all cases in turn, several times, and return a table of the medians.

    Args:
        broker: Running nsqd.
        messages: Messages of each run; 1 or more.
        rounds: Runs of each case; 1 or more.
    """
    if postgres.programs() is None:
        sys.exit("bench: PostgreSQL is not installed; run scripts/install-postgres")
    spent: dict[str, list[Spent]] = {name: [] for name in (*DRIVER, *HANDLERS)}
    with postgres.running() as url:
        settings = Settings(
            nsqd=(broker.tcp,),
            admin_port=0,
            log_level="error",
            app={"bench_url": url},
            sql_pool_size=CONNECTIONS,
        )
        database.upgrade(settings)
        _execute(url, "CREATE TABLE effects (id TEXT)")
        for _ in range(rounds):
            for name, (statement, autocommit) in DRIVER.items():
                spent[name].append(_run(url, partial(_bare, url, statement, autocommit), messages))
            for name, handler in HANDLERS.items():
                spent[name].append(_run(url, partial(_worker, broker, handler, settings), messages))
    return _shown({name: _median(runs) for name, runs in spent.items()}, messages, rounds)


def _run(url: str, work: Callable[[int], Coroutine[Any, Any, Spent]], messages: int) -> Spent:
    runs = []
    for count in (NOT_COUNTED, NOT_COUNTED + messages):
        runs.append(asyncio.run(work(count)))
        _execute(url, "TRUNCATE effects, nsqkit_inbox, nsqkit_outbox")
    few, many = runs
    return Spent(many.cpu_s - few.cpu_s, many.wall_s - few.wall_s)


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


async def _bare(url: str, statement: str, autocommit: bool, count: int) -> Spent:  # noqa: FBT001
    body = encode(Done("0"), stamp("bench"))[1]
    left = iter(range(count))

    async def work() -> None:
        async with await psycopg.AsyncConnection.connect(
            url, autocommit=autocommit, prepare_threshold=None
        ) as connection:
            for number in left:
                await connection.execute(statement, {"id": str(number), "body": body})
                if not autocommit:
                    await connection.commit()

    cpu_s, wall_s = time.process_time(), time.monotonic()
    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return Spent(time.process_time() - cpu_s, time.monotonic() - wall_s)


async def _worker(broker: Broker, handler: type[Any], settings: Settings, count: int) -> Spent:
    bodies = [encode(Ordered(str(number)), stamp("bench"))[1] for number in range(count)]
    with broker.topic(f"{TOPIC}_done"), broker.topic(TOPIC, bodies):
        broker.collect_garbage()
        worker = Worker([handler], settings=settings)
        cpu_s, wall_s = time.process_time(), time.monotonic()
        await worker.start()
        while sum(each.success for each in worker.metrics.summary()) < count:  # noqa: ASYNC110 - counts have no event
            await asyncio.sleep(0.01)
        ended_s = time.monotonic()
        await worker.stop()
        return Spent(time.process_time() - cpu_s, ended_s - wall_s)


def _median(runs: Sequence[Spent]) -> Spent:
    return Spent(median(each.cpu_s for each in runs), median(each.wall_s for each in runs))


def _shown(found: Mapping[str, Spent], messages: int, rounds: int) -> str:
    rows = [
        (name, f"{spent.cpu_s / messages * 1e6:.0f}", f"{messages / spent.wall_s:,.0f}")
        for name, spent in found.items()
    ]
    _, bare, in_transaction, _, plain, once, batch = found.values()
    added_s = once.cpu_s - plain.cpu_s
    lines = [
        Table("", "CPU of the client and rate", ("", "µs CPU per message", "messages/s"), tuple(rows)).text(),
        f"medians of {rounds} rounds of {messages:,} messages, {CONNECTIONS} connections",
        f"once= adds {added_s / messages * 1e6:.0f} µs",
        f"= {added_s / bare.cpu_s:.1f} × the bare driver, {added_s / in_transaction.cpu_s:.1f} × with BEGIN",
        f"batches: {once.wall_s / batch.wall_s:.1f} × the rate, {once.cpu_s / batch.cpu_s:.1f} × less CPU",
    ]
    return "\n".join(lines)
