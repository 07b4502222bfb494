"""Relay: every row is published in the end, and marked only on nsqd's OK."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from nsqkit import PublishError, Settings
from nsqkit.errors import RefusedError
from nsqkit.handler.outgoing import Outgoing
from nsqkit.sql import outbox
from nsqkit.sql.open_database import OpenDatabase
from nsqkit.sql.relay import Relay, Swept
from tests.unit.sql.test_cleaning import Log
from tests.waiting import until

LEASE_S = 30.0


class Bench:
    """A relay with a fake publisher, and a clock that the test sets."""

    def __init__(self, database: OpenDatabase, outside: sa.Engine) -> None:
        self.now_s = 1000.0
        database.now_s = lambda: self.now_s
        self.outside = outside
        self.log = Log()
        self.database = database
        self.published: list[tuple[str, bytes, float]] = []
        self.errors: dict[str, BaseException] = {}
        self.relay = self.another()

    def another(self) -> Relay:
        return Relay(self.database, self, lease_s=LEASE_S, log=self.log)

    async def publish_raw(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        if topic in self.errors:
            raise self.errors[topic]
        self.published.append((topic, body, defer_s))

    async def store(self, *events: Outgoing, lease_s: float = 0.0) -> None:
        def in_transaction() -> None:
            with self.outside.begin() as connection:
                outbox.store(connection, events, now_s=self.now_s, lease_s=lease_s)

        await asyncio.to_thread(in_transaction)

    def parked(self) -> Sequence[Any]:
        with self.outside.connect() as connection:
            return outbox.parked(connection)

    def unsent(self) -> list[str]:
        query = "SELECT topic FROM nsqkit_outbox WHERE sent_at IS NULL ORDER BY id"
        with self.outside.connect() as connection:
            return list(connection.exec_driver_sql(query).scalars())


@pytest.fixture
async def bench(settings: Settings, outside: sa.Engine) -> AsyncIterator[Bench]:
    async with OpenDatabase.opened("team", settings) as database:
        yield Bench(database, outside)


def refused(code: str, description: str = "") -> PublishError:
    error = PublishError("t", "nsqd:4150", f"{code} {description}", True)
    error.__cause__ = RefusedError("nsqd:4150", code, description)
    return error


async def test_rows_are_published_once_and_marked(bench: Bench) -> None:
    await bench.store(Outgoing("a", b"1"), Outgoing("b", b"2"))
    assert [await bench.relay.sweep(), await bench.relay.sweep()] == [2, 0]
    assert sorted(bench.published) == [("a", b"1", 0.0), ("b", b"2", 0.0)]
    assert (bench.unsent(), bench.relay.swept) == ([], Swept(sent=2))


async def test_a_row_is_left_to_its_writer_until_the_lease_is_over(bench: Bench) -> None:
    await bench.store(Outgoing("a", b"1"), lease_s=LEASE_S)
    assert await bench.relay.sweep() == 0
    bench.now_s += LEASE_S
    assert await bench.relay.sweep() == 1


async def test_only_the_rest_of_a_delay_is_deferred(bench: Bench) -> None:
    await bench.store(Outgoing("a", b"1", defer_s=60.0), Outgoing("b", b"2", defer_s=5.0))
    bench.now_s += 20.0
    await bench.relay.sweep()
    assert sorted(bench.published) == [("a", b"1", 40.0), ("b", b"2", 0.0)]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(PublishError("a", "nsqd:4150", "no answer", False), id="nsqd is away"),
        pytest.param(refused("E_UNAUTHORIZED"), id="a person has to allow it"),
        pytest.param(RuntimeError("a defect"), id="any other error"),
    ],
)
async def test_a_row_that_is_not_confirmed_is_tried_again_after_its_lease_for_ever(
    error: BaseException, bench: Bench
) -> None:
    await bench.store(Outgoing("a", b"1"), Outgoing("b", b"2"))
    bench.errors["a"] = error
    for _ in range(20):
        await bench.relay.sweep()
        assert await bench.relay.sweep() == 0
        bench.now_s += LEASE_S
    assert bench.relay.swept == Swept(sent=1, failed=20)
    event, fields = bench.log.lines[-1]
    assert (event, fields["count"]) == ("relay_waits", 1)
    del bench.errors["a"]
    await bench.relay.sweep()
    assert bench.unsent() == []


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(refused("E_BAD_MESSAGE", "MPUB message too big"), id="nsqd refuses it"),
        pytest.param(PublishError("a", "nsqd:4150", "it is too large", True), id="it is not even sent"),
    ],
)
async def test_a_row_that_can_never_be_published_is_parked(error: PublishError, bench: Bench) -> None:
    await bench.store(Outgoing("a", b"1"), Outgoing("b", b"2"))
    bench.errors["a"] = error
    await bench.relay.sweep()
    bench.now_s += 10 * LEASE_S
    assert await bench.relay.sweep() == 0
    assert bench.relay.swept == Swept(sent=1, parked=1)
    (row,) = await asyncio.to_thread(bench.parked)
    assert (row.topic, row.problem) == ("a", str(error))
    assert [event for event, _ in bench.log.lines] == ["event_parked"]


async def test_several_relays_publish_each_row_once(bench: Bench) -> None:
    await bench.store(*(Outgoing(f"t{number}", b"x") for number in range(50)))
    relays = [bench.another() for _ in range(4)]
    await asyncio.gather(*(relay.sweep() for relay in relays))
    assert len(bench.published) == len(set(bench.published)) == 50
    assert sum(relay.swept.sent for relay in relays) == 50


async def test_a_relay_runs_until_it_is_stopped_and_survives_a_database_that_fails(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, stop, failures = outbox.claim, asyncio.Event(), iter([1])
    reported: list[tuple[str, ...]] = []

    def fails_first(*args: Any, **limits: Any) -> Any:
        if next(failures, None):
            raise OperationalError("UPDATE", None, ConnectionResetError("gone"))
        reported.append(bench.relay.problems())
        return claim(*args, **limits)

    monkeypatch.setattr(outbox, "claim", fails_first)
    monkeypatch.setattr("nsqkit.sql.relay.POLL_S", 0.01)
    await bench.store(Outgoing("a", b"1"))
    task = asyncio.create_task(bench.relay.run(stop))
    await until(lambda: bench.published)
    await bench.store(Outgoing("b", b"2"))
    await until(lambda: len(bench.published) == 2)
    stop.set()
    await task
    assert {event for event, _ in bench.log.lines} == {"relay_failed"}
    assert "database team: OperationalError" in reported[0][0]
    assert reported[-1] == ()


async def test_a_relay_is_ready_while_the_database_and_nsqd_answer(bench: Bench) -> None:
    stop = asyncio.Event()
    assert bench.relay.problems() == ("no sweep has ended yet",)
    await bench.relay.run(stop, exit_when_idle=True)
    assert bench.relay.problems() == ()
    bench.errors["a"] = PublishError("a", "nsqd:4150", "no route to host", False)
    await bench.store(Outgoing("a", b"1"))
    await bench.relay.sweep()
    await bench.relay.sweep()  # nothing is claimed before the lease is over, and nothing has changed
    assert "no route to host" in bench.relay.problems()[0]
    bench.errors.clear()
    bench.now_s += LEASE_S
    await bench.relay.sweep()
    assert bench.relay.problems() == ()


async def test_a_relay_whose_sweep_never_ends_is_not_live(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.relay.faults() == ()
    monkeypatch.setattr("nsqkit.sql.relay.HANGS_S", -LEASE_S - 1.0)
    assert "no sweep has ended" in bench.relay.faults()[0]


async def test_a_relay_ends_when_nothing_waits_if_it_is_asked_to(bench: Bench) -> None:
    await bench.store(Outgoing("a", b"1"))
    await bench.relay.run(asyncio.Event(), exit_when_idle=True)
    assert bench.unsent() == []
