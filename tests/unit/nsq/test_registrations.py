"""Registrations: a worker's channels at every nsqlookupd; restarts are in tests/integration/test_ready.py."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from nsqkit.devbroker import DevLookupd
from nsqkit.nsq import registrations as module
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from nsqkit.nsq.registrations import Registrations
from nsqkit.policy.registration import Pair
from nsqkit.policy.retry import Exponential
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import PATIENCE_S, until

NOBODY = "127.0.0.1:1"
PAIRS = frozenset({("orders", "stock"), ("orders", "mail"), ("orders.stock.retry", "stock")})
Register = Callable[..., Registrations]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY", Exponential(base_s=0.001, max_s=0.002))


@pytest.fixture
def log() -> RecordingLog:
    return RecordingLog()


@pytest.fixture
async def register(log: RecordingLog) -> AsyncIterator[Register]:
    made: list[Registrations] = []

    def start(*addresses: str, pairs: frozenset[Pair] = PAIRS) -> Registrations:
        registrations = Registrations(Lookup(addresses), pairs, poll_s=0.001, timeout_s=PATIENCE_S, log=log)
        made.append(registrations)
        registrations.start()
        return registrations

    yield start
    for each in made:
        await each.close()
    assert [task for task in asyncio.all_tasks() if "nsqkit" in repr(task.get_coro())] == []


@pytest.fixture
async def lookupd() -> AsyncIterator[DevLookupd]:
    lookupd = DevLookupd(0, 0)
    await lookupd.start()
    yield lookupd
    await lookupd.stop()


async def ready(registrations: Registrations) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await registrations.wait_ready()


async def test_it_is_not_ready_before_all_channels_are_registered(
    lookupd: DevLookupd, register: Register, log: RecordingLog
) -> None:
    registrations = register(lookupd.http_address)
    problem = f"nsqlookupd {lookupd.http_address}: the channels are not registered yet"
    assert list(registrations.problems) == [problem]
    await ready(registrations)
    assert not registrations.problems
    http = NsqlookupdHttp(lookupd.http_address)
    assert await http.channels("orders") == {"stock", "mail"}
    assert await http.channels("orders.stock.retry") == {"stock"}
    channels = ["orders.stock.retry/stock", "orders/mail", "orders/stock"]
    fields = {"nsqlookupd": lookupd.http_address, "channels": channels}
    assert log.lines == [("info", "channels_registered", fields)]


async def test_what_is_registered_is_not_posted_again(
    lookupd: DevLookupd, register: Register, log: RecordingLog
) -> None:
    http = NsqlookupdHttp(lookupd.http_address)
    for topic, channel in PAIRS - {("orders", "mail")}:
        await http.create_channel(topic, channel)
    await ready(register(lookupd.http_address))
    assert log.lines[0][2]["channels"] == ["orders/mail"]
    await ready(register(lookupd.http_address))
    assert len(log.lines) == 1


async def test_without_nsqlookupd_or_without_durable_channels_it_is_ready_at_once(
    lookupd: DevLookupd, register: Register
) -> None:
    await ready(register())
    await ready(register(lookupd.http_address, pairs=frozenset()))
    assert await NsqlookupdHttp(lookupd.http_address).topics() == frozenset()


async def test_one_that_cannot_be_reached_is_logged_once_and_does_not_matter(
    lookupd: DevLookupd, register: Register, log: RecordingLog
) -> None:
    registrations = register(NOBODY, lookupd.http_address)
    await ready(registrations)
    failures = log.of("registration_failed")
    assert [(each["nsqlookupd"], each["error"]) for each in failures] == [(NOBODY, "Connection refused")]


async def test_if_none_can_be_reached_it_is_not_ready(register: Register) -> None:
    registrations = register(NOBODY)
    problem = f"nsqlookupd {NOBODY}: the channels are not registered: Connection refused"
    await until(lambda: registrations.problems == (problem,))


async def test_one_that_refuses_has_to_be_corrected(lookupd: DevLookupd, register: Register) -> None:
    async with FakeHttp((403, {"message": "FORBIDDEN"})) as server:
        registrations = register(server.address, lookupd.http_address)
        problem = f"nsqlookupd {server.address}: the channels are not registered: FORBIDDEN "
        await until(lambda: [problem in each for each in registrations.problems] == [True])


async def test_a_topic_that_vanishes_while_the_connection_lasts_is_not_registered_again(
    lookupd: DevLookupd, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, topics = asyncio.Queue[frozenset[str]](), NsqlookupdHttp.topics

    async def noted(self: NsqlookupdHttp) -> frozenset[str]:
        found = await topics(self)
        asked.put_nowait(found)
        return found

    monkeypatch.setattr(NsqlookupdHttp, "topics", noted)
    await ready(register(lookupd.http_address))
    for each in (*lookupd.registry.find("channel", "orders", "*"), *lookupd.registry.find("topic", "orders")):
        lookupd.registry.drop(each)
    while "orders" in await asked.get():
        pass
    for _ in range(3):
        assert await asked.get() == {"orders.stock.retry"}
