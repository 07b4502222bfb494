"""Wrong ports: what answers at an address is recognised from its first bytes."""

import asyncio

import pytest

from nsqkit.nsq.wrong_port import not_http, not_json, not_nsqd, tcp_port_at
from tests.unit.nsq.fake_nsqd import FakeNsqd, frame

NSQD = frame(1, b"E_BAD_PROTOCOL")
NSQLOOKUPD = b"\0\0\0\x0eE_BAD_PROTOCOL"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        pytest.param(b"HTTP/1.1 400 Bad Request", "an HTTP port", id="HTTP"),
        pytest.param(NSQLOOKUPD, "nsqlookupd's TCP port", id="nsqlookupd"),
    ],
)
def test_another_port_instead_of_nsqds(answer: bytes, found: str) -> None:
    assert not_nsqd(answer[:8]) == f"this is {found}; give nsqd's TCP port, usually 4150"


@pytest.mark.parametrize("answer", [NSQD, frame(0, b"OK"), b"SSH-2.0-"])
def test_what_may_be_nsqd_is_left_to_the_handshake(answer: bytes) -> None:
    assert not_nsqd(answer[:8]) is None


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        pytest.param(NSQD, "nsqd", id="nsqd"),
        pytest.param(NSQLOOKUPD, "nsqlookupd", id="nsqlookupd"),
    ],
)
def test_a_tcp_port_instead_of_http(answer: bytes, name: str) -> None:
    assert str(not_http(answer[:18])).startswith(
        f"this is {name}'s TCP port; the HTTP port of nsqd is usually"
    )


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad R", b"220 mail.example.o"])
def test_another_server_is_not_named(answer: bytes) -> None:
    assert not_http(answer) is None


@pytest.mark.parametrize("answer", [b"", b"{}", b"[<]"])
def test_what_may_be_json_is_no_web_page(answer: bytes) -> None:
    assert not_json(answer) is None


async def test_a_server_that_closes_without_an_answer_is_not_named(nsqd: FakeNsqd) -> None:
    asking = asyncio.create_task(tcp_port_at(nsqd.address, 5.0))
    peer = await nsqd.accept()
    await peer.close()
    assert await asking is None


async def test_a_server_that_is_not_there_is_not_named() -> None:
    assert await tcp_port_at("127.0.0.1:1", 5.0) is None
