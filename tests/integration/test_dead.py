"""Dead letters from end to end, on the embedded broker and on a real nsqd: the same rules hold on both."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from nsqkit import Context, DeadLetter, Handler, Settings, event
from nsqkit.dead_letters.collect import CollectionReport, collect
from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.replay import replay
from nsqkit.dead_letters.store import Store
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.worker.worker import Worker
from tests.integration.conftest import Server, StartNsqd
from tests.unit.conftest import threaded_broker
from tests.unit.dead_letters.letters import published
from tests.unit.reading import take, topics_of
from tests.waiting import PATIENCE_S, until

__all__ = ["threaded_broker"]

TOPIC = "dead_test_orders"
ALL = Filters()
REASON = ("requested", "no such card")

# Ends like a process that is killed after the commit and before FIN.
KILLED = """
import os, signal, sys
from pathlib import Path
from nsqkit import Settings
from nsqkit.dead_letters.collect import collect
from nsqkit.dead_letters.store import Store

add = Store.add

def add_and_die(self, letters):
    add(self, letters)
    os.kill(os.getpid(), signal.SIGKILL)

Store.add = add_and_die
collect(Settings(nsqd=(sys.argv[1],), nsqd_http=(sys.argv[2],), dead_store=sys.argv[3], msg_timeout_s=1.0))
"""


@event("dead_test.order", version=1, topic=TOPIC)
@dataclass
class Order:
    n: int


handled: list[tuple[str, int]] = []
broken: set[int] = set()


class Pay(Handler[Order], channel="payments"):
    async def handle(self, event: Order, ctx: Context) -> DeadLetter | None:
        handled.append((ctx.channel, event.n))
        return DeadLetter("no such card") if event.n in broken else None


class Notify(Handler[Order], channel="notify"):
    async def handle(self, event: Order, ctx: Context) -> None:
        handled.append((ctx.channel, event.n))


class Engine(Protocol):
    @property
    def tcp_address(self) -> str: ...
    @property
    def http_address(self) -> str: ...


@pytest.fixture(params=["broker", pytest.param("nsqd", marks=pytest.mark.nsqd)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """An nsqd, started anew or shared by the tests of this file."""
    name = "threaded_broker" if request.param == "broker" else "quick_nsqd"
    found: Engine = request.getfixturevalue(name)
    return found


@pytest.fixture
def settings(engine: Engine, tmp_path: Path) -> Settings:
    return Settings(
        nsqd=(engine.tcp_address,),
        nsqd_http=(engine.http_address,),
        dead_store=str(tmp_path / "dead.sqlite"),
        admin_port=0,
    )


async def until_handled(settings: Settings, count: int, *bodies: bytes) -> None:
    """Run both handlers until so many calls were made and every message is settled."""
    worker = Worker([Pay, Notify], settings=settings)
    await worker.start()
    async with asyncio.timeout(PATIENCE_S):
        await worker.wait_ready()
        for body in bodies:
            await worker.publishers.publish(settings.nsqd[0], TOPIC, body)
        await until(lambda: len(handled) >= count and not worker.held)
    await worker.stop()


def depths(engine: Engine, topic: str) -> dict[str, tuple[int, int]]:
    found: dict[str, Any] = topics_of(engine.http_address)[topic]
    return {each["channel_name"]: (each["depth"], each["in_flight_count"]) for each in found["channels"]}


def test_a_dead_letter_is_collected_replayed_and_handled_by_its_own_handler_and_no_other(
    engine: Engine, settings: Settings
) -> None:
    handled.clear()
    broken.update({1, 2})
    asyncio.run(until_handled(settings, 6, b'{"n": 0}', b'{"n": 1}', b'{"n": 2}'))
    assert sorted(handled) == [(channel, n) for channel in ("notify", "payments") for n in range(3)]

    assert collect(settings, exit_when_idle=True) == CollectionReport(2, 0, frozenset())
    assert depths(engine, f"{TOPIC}.payments.dead") == {"dead": (0, 0)}
    with Store(Path(settings.dead_store)) as store:
        letters = list(store.find(ALL, newest_first=False))
        assert sorted(each.letter.body for each in letters) == [b'{"n": 1}', b'{"n": 2}']
        assert {(each.letter.reason, each.letter.detail) for each in letters} == {REASON}

        before = topics_of(engine.http_address)[TOPIC]["message_count"]
        handled.clear()
        broken.clear()
        assert replay(store.ids(ALL), store, Settings()) == 2
        assert depths(engine, f"{TOPIC}.payments.retry") == {"payments": (2, 0)}
        asyncio.run(until_handled(settings, 2))
        assert sorted(handled) == [("payments", 1), ("payments", 2)]
        assert topics_of(engine.http_address)[TOPIC]["message_count"] == before
        assert [each.replays for each in store.find(ALL)] == [1, 1]
    assert collect(settings, exit_when_idle=True) == CollectionReport(0, 0, frozenset())


def test_a_collector_that_is_killed_between_the_commit_and_fin_stores_it_once(
    engine: Engine, settings: Settings
) -> None:
    topic = f"{TOPIC}.killed.dead"

    async def bury() -> None:
        publishers = PublisherPool(ConnectionOptions())
        await publishers.ensure_channel(engine.tcp_address, topic, "dead")
        await publishers.publish_many(engine.tcp_address, topic, [published()] * 10)
        await publishers.close()

    asyncio.run(bury())
    command = [sys.executable, "-c", KILLED, engine.tcp_address, engine.http_address, settings.dead_store]
    killed = subprocess.run(command, timeout=PATIENCE_S, check=False, env={**os.environ}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    with Store(Path(settings.dead_store)) as store:
        committed = store.count(ALL)
    assert committed > 0
    assert sum(sum(each) for each in depths(engine, topic).values()) == 10, "nothing was finished"

    done = collect(settings, exit_when_idle=True)
    assert done.stored == 10 - committed
    assert done.known >= committed
    assert depths(engine, topic) == {"dead": (0, 0)}
    with Store(Path(settings.dead_store)) as store:
        assert store.count(ALL) == 10


def test_letters_that_cannot_be_read_are_stored_as_bytes_and_nothing_waits_for_them(
    engine: Engine, settings: Settings
) -> None:
    topic = f"{TOPIC}.hostile.dead"
    bodies = [
        b'{"specversion": "1.0", "type": "\\ud800"}',
        b'{"specversion": "1.0", "type": "\\u0000"}',
        b"\x00\xff",
        b"[" * 100_000,
        b"1" * 5000,
        published(attempts=10**30, dead_at="\0", detail="\0"),
        published(body_base64="?", body=None),
        published(b"the last one"),
    ]

    async def bury() -> None:
        publishers = PublisherPool(ConnectionOptions())
        await publishers.ensure_channel(engine.tcp_address, topic, "dead")
        await publishers.publish_many(engine.tcp_address, topic, bodies)
        await publishers.close()

    asyncio.run(bury())
    assert collect(settings, topics=frozenset({topic}), exit_when_idle=True).stored == len(bodies)
    assert depths(engine, topic) == {"dead": (0, 0)}
    with Store(Path(settings.dead_store)) as store:
        found = {each.letter.body for each in store.find(ALL)}
    assert found >= {*bodies[:5], b"the last one"}


@pytest.mark.nsqd
def test_those_of_every_nsqd_that_nsqlookupd_knows_are_collected_and_go_back_where_they_came_from(
    nsqlookupd: Server, start_nsqd: StartNsqd, tmp_path: Path
) -> None:
    topic, retry = f"{TOPIC}.payments.dead", f"{TOPIC}.payments.retry"
    servers = [start_nsqd(), start_nsqd()]

    async def bury() -> None:
        publishers = PublisherPool(ConnectionOptions())
        for server in servers:
            body = published(server.tcp_address.encode(), topic=TOPIC)
            await publishers.ensure_channel(server.tcp_address, topic, "dead")
            await publishers.publish(server.tcp_address, topic, body)
        await publishers.close()

    asyncio.run(bury())
    settings = Settings(lookupd=(nsqlookupd.http_address,), dead_store=str(tmp_path / "dead.sqlite"))
    assert collect(settings, exit_when_idle=True).stored == 2
    with Store(Path(settings.dead_store)) as store:
        assert replay(store.ids(ALL), store, settings) == 2
    for server in servers:
        body = server.tcp_address.encode()
        assert asyncio.run(take(server.tcp_address, retry, 1, "payments")) == [body]
