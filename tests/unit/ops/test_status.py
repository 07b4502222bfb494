"""Status: which channels are counted, in which nsqd, and what is said of an nsqd that does not answer."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import Context, Handler, Settings, event
from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.errors import SettingsError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.ops.status import ChannelStatus, NsqdChannel, StatusReport, status
from tests.unit.nsq.fake_http import FakeHttp

NOBODY = "127.0.0.1:1"
TOPIC, RETRY = "status-orders", "status-orders.stock.retry"


@event("status.order.created", version=1, topic=TOPIC)
@dataclass(frozen=True)
class OrderCreated:
    number: int


class ReserveStock(Handler[OrderCreated], channel="stock"):
    async def handle(self, event: OrderCreated, ctx: Context) -> None: ...


SPECS = (ReserveStock.spec,)


def stats(*, topic: str = TOPIC, channel: str = "stock", paused: str = "no", **counts: int) -> Any:
    """Return nsqd's statistics of one channel, and of others that are not the handler's."""
    found = {"depth": 4, "in_flight_count": 3, "deferred_count": 2, "client_count": 1, **counts}
    other = {"channel_name": "another", "paused": True, **dict.fromkeys(found, 99)}
    own = {"channel_name": channel, "paused": paused == "channel", **found}
    topics = [
        {"topic_name": "others", "paused": True, "depth": 9, "channels": [own]},
        {"topic_name": topic, "paused": paused == "topic", "depth": 7, "channels": [other, own]},
    ]
    return 200, {"topics": topics}


async def asked(**settings: Any) -> StatusReport:
    return await asyncio.to_thread(status, SPECS, Settings(**settings))


@pytest.mark.parametrize("paused", ["no", "channel", "topic"])
async def test_a_channel_has_the_counts_of_nsqd(paused: Any) -> None:
    async with FakeHttp(stats(paused=paused)) as nsqd:
        report = await asked(nsqd_http=(nsqd.address,))
        found = NsqdChannel(nsqd.address, 7, 4, 3, 2, 1, paused)
        expected = (
            ChannelStatus("ReserveStock", TOPIC, "stock", (found,)),
            ChannelStatus("ReserveStock", RETRY, "stock", ()),
        )
        assert report == StatusReport(expected, (nsqd.address,), ())
        assert len(nsqd.requests) == 1


async def test_the_total_is_over_all_nsqd() -> None:
    async with FakeHttp(stats(depth=10)) as one, FakeHttp(stats(depth=5)) as other:
        report = await asked(nsqd_http=(one.address, other.address))
        assert report.channels[0].total("depth") == 15


async def test_a_topic_without_the_channel_shows_what_waits_in_it() -> None:
    async with FakeHttp(stats(channel="stok")) as nsqd:
        (found,) = (await asked(nsqd_http=(nsqd.address,))).channels[0].nsqd
        assert found == NsqdChannel(nsqd.address, 7, 0, 0, 0, 0, "no", is_missing=True)


async def test_the_retry_topic_is_the_handlers_too() -> None:
    async with FakeHttp(stats(topic=RETRY)) as nsqd:
        report = await asked(nsqd_http=(nsqd.address,))
        assert [len(each.nsqd) for each in report.channels] == [0, 1]


async def test_an_embedded_broker_that_nsqlookupd_knows_is_asked() -> None:
    lookupd = DevLookupd(tcp_port=0, http_port=0)
    await lookupd.start()
    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    try:
        nothing = await asked(lookupd=(lookupd.http_address,))
        assert nothing.problems == (f"nsqlookupd {lookupd.http_address} knows no nsqd",)
        await NsqdHttp(broker.http_address).create_channel(TOPIC, "stock")
        report = await asked(nsqd_http=(broker.http_address,))
        assert report.channels[0].nsqd == (NsqdChannel(broker.http_address, 0, 0, 0, 0, 0, "no"),)
    finally:
        await broker.stop()
        await lookupd.stop()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, {"message": "INTERNAL_ERROR"}), id="a refusal"),
        pytest.param((200, b"OK"), id="no JSON"),
        pytest.param((200, {"topics": [{"topic_name": TOPIC}]}), id="no channels"),
        pytest.param(stats(depth="many"), id="no number"),  # type: ignore[arg-type]
    ],
)
async def test_an_nsqd_without_an_answer_is_named_and_the_others_count(answer: Any) -> None:
    async with FakeHttp(answer) as ill, FakeHttp(stats()) as nsqd:
        report = await asked(nsqd_http=(NOBODY, ill.address, nsqd.address), lookupd=(NOBODY,))
    assert report.asked == (nsqd.address,)
    assert report.channels[0].total("depth") == 4
    lookupd, gone, wrong = report.problems
    assert lookupd.startswith(f"nsqlookupd {NOBODY}")
    assert gone.startswith(f"nsqd {NOBODY}: ")
    assert ill.address in wrong


def test_an_nsqd_must_be_named() -> None:
    with pytest.raises(SettingsError, match=r"^which nsqd\? give --nsqd HOST:4150"):
        status(SPECS, Settings())
