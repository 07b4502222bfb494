"""Database: named once, opened by the worker; each message has a session that commits with its success."""

import asyncio

import msgspec
import pytest
import sqlalchemy as sa

from nsqkit import Context, Discard, Handler, Outcome, Settings, SettingsError, event
from nsqkit.errors import SchemaError
from nsqkit.sql import Database, outbox
from nsqkit.testing import Harness

team, other = Database("team"), Database("other")


@event("parcel.stored", version=1, topic="sql-parcels")
class ParcelStored(msgspec.Struct, frozen=True):
    parcel_id: str
    outcome: str = ""


def outcome_of(event: ParcelStored) -> Outcome | None:
    if event.outcome == "raise":
        raise ValueError(event.parcel_id)
    return Discard() if event.outcome == "discard" else None


class Store(Handler[ParcelStored], channel="store", uses=[team.session]):
    async def handle(self, event: ParcelStored, ctx: Context) -> Outcome | None:
        await ctx.resource(team.session).execute(INSERT, {"id": event.parcel_id})
        return outcome_of(event)


class StorePlain(Handler[ParcelStored], channel="store-plain", uses=[team.plain_session]):
    def handle(self, event: ParcelStored, ctx: Context) -> Outcome | None:
        ctx.resource(team.plain_session).execute(INSERT, {"id": event.parcel_id})
        return outcome_of(event)


class StoreInBoth(Handler[ParcelStored], channel="both", uses=[team.session, other.session]):
    async def handle(self, event: ParcelStored, ctx: Context) -> None:
        await ctx.resource(other.session).execute(INSERT, {"id": event.parcel_id})


INSERT = sa.text("INSERT INTO parcels VALUES (:id)")


@pytest.fixture
def parcels(settings: Settings, outside: sa.Engine) -> sa.Engine:
    with outside.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE parcels (id TEXT PRIMARY KEY)")
    return outside


def ids(outside: sa.Engine) -> list[str]:
    with outside.connect() as connection:
        return list(connection.execute(sa.text("SELECT id FROM parcels ORDER BY id")).scalars())


def test_a_database_opens_nothing() -> None:
    assert repr(Database("nowhere")) == "Database('nowhere')"


@pytest.mark.parametrize("name", ["", "Stock", "stock-1", "1st"])
def test_a_name_is_one_that_a_setting_can_have(name: str) -> None:
    with pytest.raises(SettingsError, match="give lower-case letters, digits and _"):
        Database(name)


@pytest.mark.parametrize("handler", [Store, StorePlain])
async def test_a_session_commits_with_its_success_and_otherwise_rolls_back(
    handler: type[Handler[ParcelStored]], settings: Settings, parcels: sa.Engine
) -> None:
    async with Harness([handler], settings=settings) as h:
        await h.publish(ParcelStored("done"))
        await h.publish(ParcelStored("discarded", "discard"))
        await h.publish(ParcelStored("failed", "raise"))
        await h.settle()
    assert ids(parcels) == ["discarded", "done"]


async def test_a_worker_does_not_start_on_a_database_without_tables(url: str) -> None:
    with pytest.raises(SchemaError, match="run `nsqkit db upgrade team`"):
        async with Harness([Store], settings=Settings(app={"team_url": url})):
            pass


async def test_a_worker_does_not_start_without_a_url() -> None:
    with pytest.raises(SettingsError, match="NSQKIT_APP_TEAM_URL"):
        async with Harness([Store], settings=Settings()):
            pass


async def test_two_databases_are_told_apart(settings: Settings, parcels: sa.Engine, tmp_path: object) -> None:
    """Each resource finds the connections of its own database."""
    both = Settings(app={**settings.app, "other_url": f"sqlite:///{tmp_path}/other.sqlite"})
    await asyncio.to_thread(other.upgrade, both)
    second = sa.create_engine(f"sqlite:///{tmp_path}/other.sqlite")
    with second.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE parcels (id TEXT PRIMARY KEY)")
    async with Harness([StoreInBoth], settings=both) as h:
        await h.publish(ParcelStored("second"))
        await h.settle()
    assert (ids(parcels), ids(second)) == ([], ["second"])
    second.dispose()


async def test_a_program_that_is_no_worker_writes_rows_and_events_in_one_transaction(
    settings: Settings, parcels: sa.Engine
) -> None:
    async with team.sessions(settings) as sessions:
        async with sessions.begin() as session:
            await session.execute(INSERT, {"id": "p1"})
            outbox.add(session, ParcelStored("p1"), source="web")
        async with sessions() as session:
            await session.execute(INSERT, {"id": "p2"})
            outbox.add(session, ParcelStored("p2"), source="web")
            await session.rollback()
    assert ids(parcels) == ["p1"]
    with parcels.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM nsqkit_outbox").scalar() == 1


async def test_such_a_program_does_not_start_without_the_tables_either(url: str) -> None:
    with pytest.raises(SchemaError, match="nsqkit db upgrade team"):
        async with team.sessions(Settings(app={"team_url": url})):
            pass
