"""Pauses: what is paused in nsqd is reported when it changes; a failure says nothing."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from nsqkit.errors import ConnectionLostError
from nsqkit.nsq import http
from nsqkit.nsq.pauses import Pauses, Polled
from nsqkit.policy.stall import ChannelCounts
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import PATIENCE_S

SUBSCRIBED = (("orders", "stock"), ("orders", "mail"))


class Nsqd:
    """The statistics of some nsqd, by their addresses; None for one that does not answer."""

    def __init__(self) -> None:
        self.own_pauses: int | None = 0
        self.stats: dict[str, Any] = {}
        self.found: Polled = {}
        self.log = RecordingLog()
        self.polled = asyncio.Event()

    def paused(self, address: str, *, topic: bool = False, **channels: bool) -> None:
        counts = dict.fromkeys(("in_flight_count", "deferred_count", "requeue_count", "timeout_count"), 0)
        found = [
            {"channel_name": name, "paused": is_paused, "depth": 2, "message_count": 5, **counts}
            for name, is_paused in channels.items()
        ]
        self.stats[address] = {"topics": [{"topic_name": "orders", "paused": topic, "channels": found}]}

    def take(self, found: Polled) -> None:
        self.found = found
        self.polled.set()

    async def poll(self) -> None:
        """Wait until everything that was set before has been polled."""
        for _ in range(2):
            self.polled.clear()
            async with asyncio.timeout(PATIENCE_S):
                await self.polled.wait()

    @property
    def lines(self) -> list[tuple[str, object, object]]:
        return [(event, fields["nsqd"], fields["channel"]) for _, event, fields in self.log.lines]


@pytest.fixture
def nsqd(monkeypatch: pytest.MonkeyPatch) -> Nsqd:
    nsqd = Nsqd()

    async def fetch(address: str, path: str, **_: object) -> bytes:
        found = nsqd.stats[address]
        if found is None:
            raise ConnectionLostError(address, "no answer")
        return json.dumps(found).encode()

    monkeypatch.setattr(http, "fetch", fetch)
    return nsqd


@pytest.fixture
async def pauses(nsqd: Nsqd) -> AsyncIterator[Pauses]:
    pauses = Pauses(
        SUBSCRIBED,
        lambda: nsqd.stats,
        poll_s=0.001,
        timeout_s=PATIENCE_S,
        on_poll=nsqd.take,
        own_pauses=lambda: nsqd.own_pauses,
        log=nsqd.log,
    )
    pauses.start()
    yield pauses
    await pauses.close()


Of = Callable[[str], tuple[str, ...] | None]


@pytest.fixture
def of(pauses: Pauses) -> Of:
    return lambda channel: pauses.of(("orders", "orders.retry"), channel)


async def test_a_channel_that_is_paused_and_unpaused(nsqd: Nsqd, of: Of) -> None:
    nsqd.paused("a:4151", stock=False, mail=False)
    await nsqd.poll()
    assert (of("stock"), nsqd.lines) == ((), [])
    nsqd.paused("a:4151", stock=True, mail=False)
    await nsqd.poll()
    assert (of("stock"), of("mail")) == (("a:4151 orders/stock",), ())
    nsqd.paused("a:4151", stock=False, mail=False)
    await nsqd.poll()
    assert of("stock") == ()
    assert nsqd.lines == [("paused_in_nsqd", "a:4151", "stock"), ("unpaused_in_nsqd", "a:4151", "stock")]


async def test_a_paused_topic_stops_all_its_channels(nsqd: Nsqd, of: Of) -> None:
    nsqd.paused("a:4151", stock=True)
    nsqd.paused("b:4151", topic=True, stock=False)
    await nsqd.poll()
    assert of("stock") == ("a:4151 orders/stock", "b:4151 orders")
    assert of("mail") == ("b:4151 orders",)
    assert set(nsqd.lines) == {("paused_in_nsqd", "a:4151", "stock"), ("paused_in_nsqd", "b:4151", None)}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="silence"),
        pytest.param({}, id="no topics"),
        pytest.param({"topics": [5]}, id="another form"),
        pytest.param([], id="no object"),
    ],
)
async def test_a_failure_changes_nothing(nsqd: Nsqd, of: Of, answer: object) -> None:
    nsqd.stats["a:4151"] = answer
    await nsqd.poll()
    assert of("stock") is None, "it is not known"
    nsqd.paused("a:4151", stock=True)
    await nsqd.poll()
    nsqd.stats["a:4151"] = answer
    await nsqd.poll()
    assert of("stock") == ("a:4151 orders/stock",)
    assert nsqd.lines == [("paused_in_nsqd", "a:4151", "stock")]


async def test_each_poll_hands_on_what_the_nsqd_say_that_answer(nsqd: Nsqd, pauses: Pauses) -> None:
    counts = ChannelCounts(depth=2, left=3, returned=0, is_paused=False)
    nsqd.paused("a:4151", stock=False, others=True)
    nsqd.paused("b:4151", stock=True)
    nsqd.stats["c:4151"] = None
    await nsqd.poll()
    assert nsqd.found == {
        "a:4151": {("orders", "stock"): counts},
        "b:4151": {("orders", "stock"): counts._replace(is_paused=True)},
    }
    nsqd.own_pauses = None
    await nsqd.poll()
    assert nsqd.found == {}


async def test_a_pause_of_the_worker_itself_is_not_reported(nsqd: Nsqd, of: Of) -> None:
    nsqd.own_pauses = None
    nsqd.paused("a:4151", topic=True, stock=False)
    await nsqd.poll()
    assert (of("stock"), nsqd.lines) == (None, [])
    nsqd.own_pauses = 1
    nsqd.paused("a:4151", stock=False)
    await nsqd.poll()
    assert (of("stock"), nsqd.lines) == ((), [])


async def test_an_nsqd_that_is_gone_is_forgotten(nsqd: Nsqd, of: Of) -> None:
    nsqd.paused("a:4151", stock=True)
    nsqd.paused("b:4151", stock=False)
    await nsqd.poll()
    del nsqd.stats["a:4151"]
    await nsqd.poll()
    assert of("stock") == ()
    assert len(nsqd.lines) == 1


async def test_a_pause_is_known_of_each_nsqd(nsqd: Nsqd, pauses: Pauses) -> None:
    nsqd.paused("a:4151", stock=True, mail=False)
    nsqd.paused("b:4151", topic=True, stock=False)
    await nsqd.poll()
    found = {
        (address, channel): pauses.is_paused(address, ("orders", "orders.retry"), channel)
        for address in ("a:4151", "b:4151", "c:4151")
        for channel in ("stock", "mail")
    }
    assert found == {
        ("a:4151", "stock"): True,
        ("a:4151", "mail"): False,
        ("b:4151", "stock"): True,
        ("b:4151", "mail"): True,
        ("c:4151", "stock"): None,
        ("c:4151", "mail"): None,
    }


async def test_close_before_start_is_no_mistake() -> None:
    log = RecordingLog()
    await Pauses((), tuple, poll_s=60.0, timeout_s=1.0, on_poll=lambda _: None, log=log).close()
