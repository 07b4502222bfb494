"""Pause: which nsqd and which worker are told, and what is said of those that cannot be."""

import asyncio
from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.errors import NsqkitError, SettingsError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.ops.pause import ChannelReport, Command, send_to_nsqd, send_to_worker
from tests.unit.admin.port import TOKEN, Port
from tests.unit.nsq.fake_http import Answer, FakeHttp

NOBODY = "127.0.0.1:1"


async def told(command: Command = "pause", **settings: Any) -> ChannelReport:
    return await asyncio.to_thread(send_to_nsqd, command, "orders", "stock", Settings(**settings))


@pytest.mark.parametrize(
    ("command", "path"),
    [
        pytest.param("pause", "/channel/pause", id="pause"),
        pytest.param("resume", "/channel/unpause", id="resume is nsqd's unpause"),
    ],
)
async def test_every_nsqd_that_is_named_is_told(command: Command, path: str) -> None:
    async with FakeHttp((200, b"")) as one, FakeHttp((200, b"")) as other:
        addresses = (one.address, other.address)
        assert await told(command, nsqd_http=addresses) == ChannelReport(addresses, (), ())
        assert one.requests == other.requests == [f"POST {path}?topic=orders&channel=stock"]


async def test_a_broker_pauses_its_channel_and_goes_on_with_it() -> None:
    broker = DevBroker(tcp_port=0, http_port=0)
    await broker.start()
    try:
        nsqd = NsqdHttp(broker.http_address)
        await nsqd.create_channel("orders", "stock")
        seen = []
        for command in ("pause", "resume"):
            await told(command, nsqd_http=(broker.http_address,))
            stats: Any = await nsqd.stats("orders")
            seen.append(stats["topics"][0]["channels"][0]["paused"])
        assert seen == [True, False]
    finally:
        await broker.stop()


async def test_every_nsqd_that_nsqlookupd_knows_is_told() -> None:
    async with FakeHttp((200, b"")) as nsqd:
        host, port = nsqd.address.rsplit(":", 1)
        producer = {"broadcast_address": host, "tcp_port": 1, "http_port": int(port)}
        async with FakeHttp((200, {"producers": [producer]})) as lookupd:
            assert await told(lookupd=(lookupd.address,)) == ChannelReport((nsqd.address,), (), ())


@pytest.mark.parametrize("code", ["TOPIC_NOT_FOUND", "CHANNEL_NOT_FOUND"])
async def test_an_nsqd_without_the_channel_is_no_problem(code: str) -> None:
    async with FakeHttp((404, {"message": code})) as empty, FakeHttp((200, b"")) as nsqd:
        expected = ChannelReport((nsqd.address,), (empty.address,), ())
        assert await told(nsqd_http=(empty.address, nsqd.address)) == expected


async def test_what_cannot_be_told_is_named_and_the_others_are_told() -> None:
    async with FakeHttp((500, {"message": "INTERNAL_ERROR"})) as ill, FakeHttp((200, b"")) as nsqd:
        end = await told(nsqd_http=(NOBODY, ill.address, nsqd.address), lookupd=(NOBODY,))
    assert end.addresses == (nsqd.address,)
    lookupd, gone, refused = end.problems
    assert lookupd.startswith(f"nsqlookupd {NOBODY}")
    assert gone.startswith(f"nsqd {NOBODY}: ")
    assert "INTERNAL_ERROR" in refused


async def test_an_nsqlookupd_that_knows_nobody_is_named() -> None:
    lookupd = DevLookupd(tcp_port=0, http_port=0)
    await lookupd.start()
    try:
        address = lookupd.http_address
        assert (await told(lookupd=(address,))).problems == (f"nsqlookupd {address} knows no nsqd",)
    finally:
        await lookupd.stop()


@pytest.mark.parametrize(
    ("topic", "channel", "settings", "problem"),
    [
        pytest.param("or/ders", "stock", {"nsqd": ("a:1",)}, "topic name 'or/ders' has", id="a bad topic"),
        pytest.param("orders", "", {"nsqd": ("a:1",)}, "channel name is empty", id="a bad channel"),
        pytest.param("orders", "stock", {}, "which nsqd\\? give --nsqd HOST:4150", id="no nsqd"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    topic: str, channel: str, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^{problem}"):
        send_to_nsqd("pause", topic, channel, Settings(**settings))


SHOWN = {"name": "Reserve", "state": "paused", "held": 3}


@pytest.mark.parametrize(
    ("command", "for_s", "request_line"),
    [
        pytest.param("pause", None, "POST /handlers/Reserve/pause?", id="until it is resumed"),
        pytest.param("pause", 90.0, "POST /handlers/Reserve/pause?for_s=90", id="for some time"),
        pytest.param("resume", None, "POST /handlers/Reserve/resume?", id="resume"),
    ],
)
async def test_a_worker_is_told_by_its_admin_port(
    command: Command, for_s: float | None, request_line: str
) -> None:
    async with FakeHttp((200, {"handlers": [SHOWN]})) as worker:
        shown = await asyncio.to_thread(send_to_worker, command, "Reserve", worker.address, for_s)
        assert shown == SHOWN
        assert [line.rstrip("?") for line in worker.requests] == [request_line.rstrip("?")]


async def test_a_worker_that_requires_a_token_gets_it() -> None:
    port = Port()
    address = f"127.0.0.1:{await port.server.start()}"
    try:
        shown = await asyncio.to_thread(send_to_worker, "pause", "Reserve", address, token=TOKEN.decode())
        assert (shown["name"], port.worker.changes) == ("Reserve", 1)
        for token in ("", "other"):
            with pytest.raises(SettingsError, match=rf"^worker {address}: send the value of admin_token"):
                await asyncio.to_thread(send_to_worker, "pause", "Reserve", address, token=token)
        assert port.worker.changes == 1
    finally:
        await port.server.stop()


async def test_of_several_processes_the_messages_in_flight_are_added() -> None:
    states = [SHOWN, SHOWN | {"held": 4}]
    async with FakeHttp((200, {"handlers": states})) as worker:
        shown = await asyncio.to_thread(send_to_worker, "pause", "Reserve", worker.address)
    assert shown == SHOWN | {"held": 7}


async def test_a_name_cannot_lead_to_another_page() -> None:
    async with FakeHttp((200, {"handlers": [SHOWN]})) as worker:
        await asyncio.to_thread(send_to_worker, "pause", "a/../b?c", worker.address)
        assert worker.requests[0].startswith("POST /handlers/a%2F..%2Fb%3Fc/pause")


async def test_a_refusal_has_the_workers_own_words() -> None:
    async with FakeHttp(
        (404, {"message": "there is no handler 'Reserv' here; the handlers are: Reserve"})
    ) as worker:
        with pytest.raises(SettingsError) as caught:
            await asyncio.to_thread(send_to_worker, "pause", "Reserv", worker.address)
        expected = f"worker {worker.address}: there is no handler 'Reserv' here; the handlers are: Reserve"
        assert str(caught.value) == expected


async def test_a_worker_that_does_not_answer_is_named() -> None:
    with pytest.raises(NsqkitError, match=rf"^worker {NOBODY}: .*; is this its admin port\?$"):
        await asyncio.to_thread(send_to_worker, "pause", "Reserve", NOBODY)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((200, b"OK"), id="no JSON"),
        pytest.param((200, []), id="no object"),
        pytest.param((200, {"handlers": []}), id="no handler"),
    ],
)
async def test_who_answers_something_else_is_named(answer: Answer) -> None:
    async with FakeHttp(answer) as other:
        with pytest.raises(NsqkitError, match=rf"^worker {other.address}: its answer cannot be read"):
            await asyncio.to_thread(send_to_worker, "pause", "Reserve", other.address)


def test_an_address_is_host_and_port() -> None:
    with pytest.raises(SettingsError, match="give host:port"):
        send_to_worker("pause", "Reserve", "localhost")
