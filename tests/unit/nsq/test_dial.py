"""TCP connections: time limits, names, and addresses of both families."""

import asyncio
import errno
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from tornado.iostream import IOStream, StreamClosedError

from nsqkit.nsq.dial import dial, reason
from tests.unit.nsq.fake_nsqd import FakeNsqd

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
    """IOStream.connect, given a name, would block the loop for as long as the look-up takes."""
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
    assert stream.socket.getpeername() == ("127.0.0.1", nsqd.port)
    stream.close()


async def test_an_ipv6_address_is_connected_to() -> None:
    try:
        async with FakeNsqd("::1") as nsqd:
            stream = await dial("::1", nsqd.port, 2.0)
            assert stream.socket.family == socket.AF_INET6
            stream.close()
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            pytest.skip("this machine has no IPv6")
        raise


async def test_a_cancelled_connect_leaves_no_socket(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams: asyncio.Queue[IOStream] = asyncio.Queue()

    class Recorded(IOStream):
        def __init__(self, sock: socket.socket) -> None:
            super().__init__(sock)
            streams.put_nowait(self)

    monkeypatch.setattr("nsqkit.nsq.dial.PatientStream", Recorded)
    dialling = asyncio.create_task(dial("127.0.0.1", silent_port, 5.0))
    stream = await streams.get()
    dialling.cancel()
    await asyncio.wait({dialling})
    assert dialling.cancelled()
    assert stream.closed()


async def test_what_was_said_before_a_reset_is_read_though_writing_meets_the_reset_first() -> None:
    """So does nsqd with a connection on which too big a body still comes, right after saying so."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await dial("127.0.0.1", server.getsockname()[1], 2.0)
        accepted, _ = server.accept()
        accepted.send(b"why")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        stream.write(b"the rest of the body")
        assert await stream.read_bytes(3) == b"why"
        with pytest.raises(StreamClosedError):
            await stream.read_bytes(1)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(StreamClosedError(), "closed by the other side", id="end of file"),
        pytest.param(
            StreamClosedError(OSError(104, "Connection reset by peer")),
            "Connection reset by peer",
            id="reset",
        ),
        pytest.param(StreamClosedError(ValueError("odd")), "odd", id="something else inside"),
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
