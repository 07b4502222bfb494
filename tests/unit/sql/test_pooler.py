"""Pooler: inbox and outbox work through pgbouncer in transaction mode, which keeps no state of a session."""

from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa

from nsqkit import Context, Handler, Settings, event
from nsqkit.events.codec.encoder import encode
from nsqkit.events.stamp import stamp
from nsqkit.sql import Database
from nsqkit.testing import Harness
from tests.postgres import pooled

team = Database("team")
INSERT = sa.text("INSERT INTO effects VALUES (:id)")
MESSAGES = 100


@event("parcel.pooled", version=1, topic="sql-pooler")
class ParcelPooled(msgspec.Struct, frozen=True):
    parcel_id: str


@event("pool.left", version=1, topic="sql-pool-left")
class PoolLeft(msgspec.Struct, frozen=True):
    parcel_id: str


class Pooled(Handler[ParcelPooled], channel="pooled", once=team):
    async def handle(self, event: ParcelPooled, ctx: Context) -> None:
        await ctx.resource(team.session).execute(INSERT, {"id": event.parcel_id})
        ctx.publish(PoolLeft(event.parcel_id))


class PooledPlain(Handler[ParcelPooled], channel="pooled-plain", once=team):
    def handle(self, event: ParcelPooled, ctx: Context) -> None:
        ctx.resource(team.plain_session).execute(INSERT, {"id": event.parcel_id})
        ctx.publish(PoolLeft(event.parcel_id))


@pytest.fixture
def url(postgresql: str) -> Iterator[str]:
    """The URL of an empty database, by way of the pooler; it drops the options of a connection."""
    server = sa.create_engine(
        postgresql.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with server.connect() as connection:
        connection.exec_driver_sql("CREATE DATABASE pooled")
        with pooled(f"{postgresql.rpartition('/')[0]}/pooled") as found:
            yield found
        connection.exec_driver_sql("DROP DATABASE pooled WITH (FORCE)")
    server.dispose()


@pytest.mark.parametrize("handler", [Pooled, PooledPlain])
async def test_every_event_is_handled_and_published_once(
    handler: type[Handler[ParcelPooled]], settings: Settings, outside: sa.Engine
) -> None:
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE effects (id TEXT)")
    bodies = [encode(ParcelPooled(str(number)), stamp("scales"))[1] for number in range(MESSAGES)]
    async with Harness([handler], settings=settings) as h:
        for body in (*bodies, *bodies):
            await h.publish_raw("sql-pooler", body)
        await h.settle()
        h.requeued().never()
        h.handled(ParcelPooled).times(MESSAGES)
        h.duplicated(ParcelPooled).times(MESSAGES)
        h.published(PoolLeft).times(MESSAGES)
    with outside.connect() as connection:
        counts = "SELECT (SELECT count(*) FROM effects), (SELECT count(sent_at) FROM nsqkit_outbox)"
        assert tuple(connection.exec_driver_sql(counts).one()) == (MESSAGES, MESSAGES)
