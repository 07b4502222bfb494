"""Requests to nsqd's HTTP port."""

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from nsqkit.errors import ConnectionLostError, RefusedError, SettingsError
from nsqkit.nsq.http import NsqdHttp, fetch, fetch_date_s
from tests.unit.nsq.fake_http import Answer, FakeHttp
from tests.unit.nsq.fake_nsqd import FakeNsqd
from tests.waiting import PATIENCE_S, turns


async def test_ping_returns_when_nsqd_is_healthy() -> None:
    async with FakeHttp((200, b"OK")) as server:
        await NsqdHttp(server.address).ping()
        assert server.requests == ["GET /ping"]


async def test_an_unhealthy_nsqd_is_a_refusal() -> None:
    async with FakeHttp((500, b"NOK - disk full")) as server:
        with pytest.raises(RefusedError, match="500"):
            await NsqdHttp(server.address).ping()


async def test_nsqds_error_code_is_kept() -> None:
    async with FakeHttp((404, {"message": "TOPIC_NOT_FOUND"})) as server:
        with pytest.raises(RefusedError) as caught:
            await fetch(server.address, "/lookup", topic="orders")
    assert caught.value.code == "TOPIC_NOT_FOUND"


async def test_a_path_that_is_unknown_there_names_the_usual_ports() -> None:
    """It is nsqd's HTTP port where nsqlookupd's is needed, or the other way round."""
    async with FakeHttp((404, {"message": "NOT_FOUND"})) as server:
        with pytest.raises(RefusedError, match="nsqd is usually 4151, that of nsqlookupd 4161"):
            await fetch(server.address, "/lookup", topic="orders")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        pytest.param(
            (400, b"Client sent an HTTP request to an HTTPS server.\n"), "this is an HTTPS port", id="HTTPS"
        ),
        pytest.param((403, {"message": "TLS_REQUIRED"}), "--tls-required=tcp-https", id="TLS required"),
    ],
)
async def test_a_port_that_is_encrypted_is_named(answer: Answer, hint: str) -> None:
    async with FakeHttp(answer) as server:
        with pytest.raises(RefusedError, match=hint):
            await NsqdHttp(server.address).stats()


async def test_a_web_page_such_as_that_of_nsqadmin_is_named() -> None:
    async with FakeHttp((200, b"<!doctype html>\n<title>nsqadmin</title>")) as server:
        with pytest.raises(ConnectionLostError, match=r"web page, such as nsqadmin's; .* nsqlookupd 4161"):
            await NsqdHttp(server.address).stats()


async def test_a_redirection_is_not_followed() -> None:
    """A hostile server could make the worker ask any other one."""
    async with FakeHttp((200, b"secret")) as other:
        answer = f"HTTP/1.1 302 Found\r\nLocation: http://{other.address}/\r\nContent-Length: 0\r\n\r\n"
        async with FakeHttp(answer.encode()) as server:
            with pytest.raises(RefusedError, match="302"):
                await fetch(server.address, "/stats")
        assert other.requests == []


@pytest.fixture
def in_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
async def test_a_date_without_a_zone_is_in_utc() -> None:
    answer = b"HTTP/1.1 200 OK\r\nDate: Tue, 01 Jan 2030 00:00:00\r\nContent-Length: 0\r\n\r\n"
    async with FakeHttp(answer) as server:
        assert await fetch_date_s(server.address) == datetime(2030, 1, 1, tzinfo=UTC).timestamp()


async def test_a_tcp_port_of_nsq_is_named(nsqd: FakeNsqd) -> None:
    asking = asyncio.create_task(fetch(nsqd.address, "/stats"))
    for _ in range(2):
        peer = await nsqd.accept()
        await peer.some()
        peer.refuse(b"E_BAD_PROTOCOL")
        await peer.close()
    with pytest.raises(ConnectionLostError, match="this is nsqd's TCP port; the HTTP port"):
        await asking


async def test_stats_are_of_one_topic_or_of_all() -> None:
    async with FakeHttp((200, {"version": "1.3.0", "topics": []})) as server:
        nsqd = NsqdHttp(server.address)
        assert await nsqd.stats("jobs#ephemeral") == {"version": "1.3.0", "topics": []}
        await nsqd.stats()
        assert "topic=jobs%23ephemeral" in server.requests[0]
        assert "topic" not in server.requests[1]


@pytest.mark.parametrize("body", [b"not json", b"[]"])
async def test_stats_that_are_no_object_are_an_error(body: bytes) -> None:
    async with FakeHttp((200, body)) as server:
        with pytest.raises(ConnectionLostError, match="JSON"):
            await NsqdHttp(server.address).stats()


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        pytest.param((200, b"1048576"), 1048576, id="a number"),
        pytest.param((200, b'["127.0.0.1:4160"]'), None, id="no number"),
        pytest.param((400, {"message": "INVALID_OPTION"}), None, id="no such option"),
    ],
)
async def test_an_option_is_a_number_or_unknown(answer: Answer, value: int | None) -> None:
    async with FakeHttp(answer) as server:
        assert await NsqdHttp(server.address).config("max_msg_size") == value


async def test_a_channel_is_made_after_its_topic() -> None:
    async with FakeHttp((200, b"")) as server:
        await NsqdHttp(server.address).create_channel("orders", "stock")
        assert server.requests == [
            "POST /topic/create?topic=orders",
            "POST /channel/create?topic=orders&channel=stock",
        ]


async def test_a_channel_is_paused_and_goes_on() -> None:
    async with FakeHttp((200, b"")) as server:
        nsqd = NsqdHttp(server.address)
        await nsqd.pause_channel("orders", "stock")
        await nsqd.unpause_channel("orders", "stock")
        assert server.requests == [
            "POST /channel/pause?topic=orders&channel=stock",
            "POST /channel/unpause?topic=orders&channel=stock",
        ]


async def test_an_ipv6_address_in_brackets_works() -> None:
    try:
        async with FakeHttp((200, b"OK"), "::1") as server:
            await NsqdHttp(server.address).ping()
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="silence"),
        pytest.param(b"\x00\x00\x00\x0c\x00\x00\x00\x01E_INVALID", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", id="half an answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", id="a broken header"),
    ],
)
async def test_no_answer_over_http_is_a_lost_connection(answer: bytes) -> None:
    async with FakeHttp(answer) as server:
        with pytest.raises(ConnectionLostError, match=server.address):
            await NsqdHttp(server.address, timeout_s=0.2).ping()


async def test_a_server_that_is_not_there_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionLostError, match="Connection refused"):
        await NsqdHttp("127.0.0.1:1").ping()


async def test_an_address_that_is_none_is_refused_before_asking() -> None:
    with pytest.raises(SettingsError):
        await NsqdHttp("http://127.0.0.1:4151").ping()


@pytest.mark.parametrize("turns_before", [1, 4, 8], ids=lambda n: f"blocked after {n} turns")
async def test_a_server_is_not_at_fault_while_the_event_loop_is_blocked(turns_before: int) -> None:
    """Then the request is sent again: the answer may have been in the socket when the time was over."""
    async with FakeHttp((200, b"OK")) as server:
        asked = asyncio.create_task(fetch(server.address, "/ping", timeout_s=0.2))
        await turns(turns_before)
        threading.Event().wait(0.3)
        assert await asked == b"OK"


async def test_a_server_that_never_answers_is_at_fault() -> None:
    async with FakeHttp(b"") as server:
        with pytest.raises(ConnectionLostError, match="Timeout during request"):
            await fetch(server.address, "/ping", timeout_s=0.05)


async def test_a_request_that_is_cancelled_again_and_again_leaves_no_socket_open() -> None:
    asked, answer, closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nOK")
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(PATIENCE_S):
        port = server.sockets[0].getsockname()[1]
        fetching = asyncio.create_task(fetch(f"127.0.0.1:{port}", "/ping", timeout_s=PATIENCE_S))
        await asked.wait()
        for _ in range(3):
            fetching.cancel()
            await turns()
        assert not fetching.done(), "it waits for the answer, after which tornado closes the socket"
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await fetching
        await closed.wait()
