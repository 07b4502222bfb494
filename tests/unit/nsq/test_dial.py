"""TCP connections: time limits, names, and addresses of both families."""

import asyncio
import errno
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from nsqkit.nsq.dial import dial, reason
from tests.unit.nsq.fake_nsqd import FakeNsqd
from tests.waiting import turns, until

Found = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int]]


def _found(host: str, port: int) -> Found:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))


async def test_a_refused_connect_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its reason is looked at
        await dial("127.0.0.1", port, 2.0)
    assert reason(caught.value) == "Connection refused"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on which a connect is neither taken nor refused: its backlog is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        with socket.create_connection(server.getsockname()):
            yield server.getsockname()[1]


async def test_a_connect_that_nobody_answers_ends_in_time(silent_port: int) -> None:
    """Pynsq's timeout has no effect: it makes the socket non-blocking after setting it."""
    with pytest.raises(TimeoutError) as caught:
        await dial("127.0.0.1", silent_port, 0.05)
    assert reason(caught.value) == "no answer in time"


async def test_names_are_looked_up_off_the_loop(nsqd: FakeNsqd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop would be blocked for as long as the look-up takes."""
    threads = []

    def getaddrinfo(*_: object, **__: object) -> list[Found]:
        threads.append(threading.current_thread())
        return [_found("127.0.0.1", nsqd.port)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    stream = await dial("nsqd.example", nsqd.port, 2.0)
    stream.close()
    assert threads
    assert threading.main_thread() not in threads


async def test_the_next_address_is_tried_when_one_does_not_answer(
    nsqd: FakeNsqd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[Found]:
        return [_found("127.0.0.2", nsqd.port), _found("127.0.0.1", nsqd.port)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    stream = await dial("nsqd.example", nsqd.port, 2.0)
    assert stream.socket is not None
    assert stream.socket.getpeername() == ("127.0.0.1", nsqd.port)
    stream.close()


async def test_an_ipv6_address_is_connected_to() -> None:
    try:
        async with FakeNsqd("::1") as nsqd:
            stream = await dial("::1", nsqd.port, 2.0)
            assert stream.socket is not None
            assert stream.socket.family == socket.AF_INET6
            stream.close()
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            pytest.skip("this machine has no IPv6")
        raise


async def test_small_writes_are_not_delayed(nsqd: FakeNsqd) -> None:
    stream = await dial("127.0.0.1", nsqd.port, 2.0)
    assert stream.socket is not None
    assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    stream.close()


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """The sockets that dialling made."""
    made: list[socket.socket] = []

    class Recorded(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr("nsqkit.nsq.dial.socket", SimpleNamespace(**vars(socket) | {"socket": Recorded}))
    return made


async def test_a_cancelled_connect_leaves_no_socket(silent_port: int, sockets: list[socket.socket]) -> None:
    dialling = asyncio.create_task(dial("127.0.0.1", silent_port, 5.0))
    await until(lambda: sockets)
    dialling.cancel()
    await asyncio.wait({dialling})
    assert dialling.cancelled()
    assert [each.fileno() for each in sockets] == [-1]


async def test_a_connect_that_is_cancelled_at_any_step_leaves_no_socket(
    sockets: list[socket.socket],
) -> None:
    is_connected = False
    count = 0
    with socket.create_server(("127.0.0.1", 0)) as server:
        while not is_connected:
            dialling = asyncio.create_task(dial("127.0.0.1", server.getsockname()[1], 5.0))
            await turns(count)
            count += 1
            is_connected = not dialling.cancel()
            await asyncio.wait({dialling})
            if is_connected:
                dialling.result().close()
    await turns()
    assert len(sockets) > 1
    assert {each.fileno() for each in sockets} == {-1}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(
            ConnectionError("closed by the other side"), "closed by the other side", id="end of file"
        ),
        pytest.param(
            ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"),
            "Connection refused",
            id="asyncio's text",
        ),
        pytest.param(TimeoutError(), "no answer in time", id="own time limit"),
        pytest.param(TimeoutError(110, "Connection timed out"), "Connection timed out", id="TCP's"),
        pytest.param(
            socket.gaierror(-2, "Name or service not known"), "Name or service not known", id="no such name"
        ),
        pytest.param(OSError("plain"), "plain", id="no errno"),
    ],
)
def test_a_reason_is_one_clear_line(error: OSError, text: str) -> None:
    assert reason(error) == text
