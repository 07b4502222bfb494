"""Hostile and broken peers: bounded memory and time, and an error of one line instead of an exception."""

import asyncio
import contextlib
import json
import struct
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from nsqkit.background import Background
from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq import dial
from nsqkit.nsq.compression import Deflate, Snappy
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.discovery import Endpoints
from nsqkit.nsq.http import NsqdHttp, fetch
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.lookup import Lookup
from nsqkit.nsq.message import one_by_one
from nsqkit.nsq.nsqlookupd import NsqlookupdHttp
from tests.unit.nsq.fake_http import Answer, FakeHttp
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer, frame, message_frame
from tests.unit.nsq.recording_log import RecordingLog
from tests.waiting import PATIENCE_S, turns, until

if TYPE_CHECKING:
    from nsqkit.nsq.message import Message

MIB = 1024 * 1024
MOST_BYTES = 64 * MIB  # the memory that one peer may cost in these tests
HOSTILE: dict[str, Answer] = {
    "100,000 brackets": (200, b"[" * 100_000),
    "a header over 64 KB": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 50_000 + b"\r\n{}",
    "900 KB of garbage": (200, b"\xff\x00\x1b" * 300_000),
    "an error of 900 KB": (500, {"message": "x" * 900_000}),
    "an error in 100,000 brackets": (500, b"[" * 100_000),
    "a reason of 60 KB": b"HTTP/1.1 500 " + b"x" * 60_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a body of 20 MB": (200, b" " * 20_000_000),
    "a body without an end": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 20_000_000,
    "a number of 900 KB": (200, b"9" * 900_000),
    "an address of 900 KB": (
        200,
        {"producers": [{"broadcast_address": "x" * 900_000, "tcp_port": "y" * 900_000, "http_port": 1}]},
    ),
    "deep addresses": (
        200,
        b'{"producers": [{"broadcast_address": ' + b"[" * 900 + b"]" * 900 + b', "tcp_port": [[]]}]}',
    ),
}


@pytest.fixture(params=HOSTILE)
def answer(request: pytest.FixtureRequest) -> Answer:
    return HOSTILE[request.param]


@pytest.fixture
def peak() -> Iterator[None]:
    """Check that the test needs little memory at any time."""
    tracemalloc.start()
    yield
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < MOST_BYTES


def is_a_line(text: str) -> bool:
    return text.isprintable() and len(text) < 1000


async def test_nsqlookupd_may_answer_anything(answer: Answer) -> None:
    async with FakeHttp(answer) as server:
        found = await Lookup([server.address], timeout_s=PATIENCE_S).producers("orders")
    (line,) = found.failures + found.faults
    assert is_a_line(line)
    assert not found.nodes


async def outcome(asked: Awaitable[object]) -> object:
    """Return what came out, or the error's text."""
    try:
        return await asked
    except (ConnectionLostError, RefusedError) as error:
        return str(error)


@pytest.mark.parametrize("ask", [NsqlookupdHttp.topics, NsqlookupdHttp.topics_of_nodes])
async def test_its_topics_may_be_anything(
    answer: Answer, ask: Callable[[NsqlookupdHttp], Awaitable[object]]
) -> None:
    async with FakeHttp(answer) as server:
        found = await outcome(ask(NsqlookupdHttp(server.address, PATIENCE_S)))
    assert found == frozenset() or is_a_line(str(found))


async def test_nsqds_statistics_may_be_anything(answer: Answer) -> None:
    async with FakeHttp(answer) as server:
        found = await outcome(NsqdHttp(server.address, PATIENCE_S).stats())
    assert isinstance(found, dict) or is_a_line(str(found))


async def test_nsqds_options_may_be_anything(answer: Answer) -> None:
    async with FakeHttp(answer) as server:
        found = await outcome(NsqdHttp(server.address, PATIENCE_S).config("max_msg_size"))
    assert is_a_line(str(found))


async def test_an_answer_that_never_ends_is_cut_off() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"1\r\n[\r\n" * 100)
                await writer.drain()
                await asyncio.sleep(0.01)  # a slow peer: no limit of size ends this
        writer.close()
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server, asyncio.timeout(PATIENCE_S):
        with pytest.raises(ConnectionLostError, match="Timeout"):
            await fetch(f"{host}:{port}", "/nodes", timeout_s=0.1)
        await gone.wait()


async def test_a_consumer_goes_on_polling_and_recovers(answer: Answer, nsqd: FakeNsqd) -> None:
    log = RecordingLog()
    background = Background(log)
    async with FakeHttp(answer) as server:
        consumer = Consumer(
            ConsumerOptions(
                topics=("orders",), channel="stock", connection=ConnectionOptions(), max_in_flight=1
            ),
            Endpoints((), Lookup([server.address], PATIENCE_S)),
            on_messages=lambda _: None,
            on_settle_failure=lambda _: None,
            log=log,
            background=background,
        )
        consumer.start()
        await until(lambda: log.of("nsqlookupd_failed") or log.of("registrations_faulty"))
        assert all(map(is_a_line, consumer.problems))
        assert consumer.ready is bool(log.of("registrations_faulty")), (
            "without a usable nsqd it waits for one"
        )
        address = {"broadcast_address": nsqd.host, "tcp_port": nsqd.port, "http_port": 1}
        server.answer((200, {"producers": [address]}))
        consumer.poll_now()
        await nsqd.serve("orders")
        await consumer.wait_ready()
        await consumer.close(0.1)
    assert background.died == ()


async def test_only_names_that_nsq_allows_are_taken() -> None:
    names = ["orders", "x" * 900_000, "\ud800", "a b", 5, None, ["orders"], {}, "bills#ephemeral"]
    content = {"topics": names, "channels": names, "producers": [{"topics": names}, 5]}
    async with FakeHttp((200, content)) as server:
        http = NsqlookupdHttp(server.address)
        expected = {"orders", "bills#ephemeral"}
        assert await http.topics() == await http.topics_of_nodes() == expected
        assert await http.channels("orders") == expected


class Subscriber:
    """A connection with a subscription, and nsqd's end of it."""

    def __init__(self, nsqd: FakeNsqd, compression: str = "none") -> None:
        self.messages: list[Message] = []
        options = ConnectionOptions(compression=compression)
        self.connection = Connection(nsqd.address, options, on_messages=one_by_one(self.messages.append))
        self.peer: Peer
        self._nsqd = nsqd

    async def open(self, **reply: object) -> None:
        opening = asyncio.create_task(self._open())
        self.peer = await self._nsqd.accept()
        await self.peer.subscribed(**reply)  # type: ignore[arg-type]
        await opening

    async def _open(self) -> None:
        await self.connection.open()
        await self.connection.subscribe("orders", "stock")

    async def end(self) -> NsqkitError | None:
        async with asyncio.timeout(PATIENCE_S):
            return await self.connection.wait_closed()


async def flood(peer: Peer, data: bytes) -> None:
    """Send until the other side closes."""
    try:
        while True:
            peer.send(data)
            await peer.writer.drain()
    except ConnectionError:
        peer.reset()


class TestNsqd:
    @pytest.mark.usefixtures("peak")
    @pytest.mark.parametrize("size", [2**31 - 1, 100 * MIB])
    async def test_a_frame_longer_than_any_message_ends_the_connection(
        self, nsqd: FakeNsqd, size: int
    ) -> None:
        side = Subscriber(nsqd)
        await side.open()
        side.peer.send(struct.pack(">ii", size, 2))
        await flood(side.peer, b"x" * MIB)
        assert f"a frame has {size} bytes" in str(await side.end())
        assert "max_msg_bytes" in str(await side.end())

    async def test_a_message_of_many_megabytes_still_arrives(self, nsqd: FakeNsqd) -> None:
        """An nsqd with a high --max-msg-size needs no setting."""
        side = Subscriber(nsqd)
        await side.open()
        sending = asyncio.create_task(flood(side.peer, message_frame(body=b"x" * 16 * MIB)))
        await until(lambda: side.messages)
        assert len(side.messages[0].body) == 16 * MIB
        side.connection.close()
        await sending

    @pytest.mark.usefixtures("peak")
    async def test_a_deflate_bomb_is_unpacked_in_steps(self) -> None:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        bomb = b"".join(packer.compress(b"\0" * MIB) for _ in range(200)) + packer.flush()
        layer = Deflate(6)
        sizes = [len(layer.decode(bomb))]
        while layer.has_more:
            sizes.append(len(layer.decode(b"")))
        assert sum(sizes) == 200 * MIB
        assert max(sizes) <= 65536

    def test_bytes_after_the_end_of_deflate_are_an_error(self) -> None:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        layer = Deflate(6)
        assert layer.decode(packer.compress(b"x") + packer.flush()) == b"x"
        assert layer.decode(b"") == b""
        with pytest.raises(zlib.error):
            layer.decode(b"more")

    def test_a_snappy_bomb_is_small(self) -> None:
        bomb = Snappy().encode(b"\0" * (4 * MIB))
        layer = Snappy()
        assert max(len(layer.decode(bomb[at : at + 65536])) for at in range(0, len(bomb), 65536)) < 2 * MIB

    async def test_a_bomb_of_heartbeats_leaves_time_for_others(self, nsqd: FakeNsqd) -> None:
        side = Subscriber(nsqd, "deflate")
        opening = asyncio.create_task(side._open())
        peer = await nsqd.accept()
        await peer.shake_hands(deflate=True)
        layer = Deflate(9)
        peer.send(layer.encode(frame(0, b"OK")))
        await peer.some()
        peer.send(layer.encode(frame(0, b"OK")))
        await opening
        passed = 0
        peer.send(layer.encode(frame(0, b"_heartbeat_") * 100_000 + frame(1, b"E_INVALID over")))
        ending = asyncio.create_task(side.end())
        while not ending.done():
            passed += 1
            await turns()
        assert "E_INVALID over" in str(ending.result())
        assert passed > 5

    @pytest.mark.usefixtures("peak")
    async def test_one_that_ignores_rdy_is_disconnected(self, nsqd: FakeNsqd) -> None:
        side = Subscriber(nsqd)
        await side.open()
        side.connection.ready(5)
        await flood(side.peer, message_frame() * 100)
        assert str(await side.end()).endswith("ignores RDY 5: sends without end")
        assert 1050 < len(side.messages) < 5000

    async def test_messages_that_are_answered_do_not_count(self, nsqd: FakeNsqd) -> None:
        side = Subscriber(nsqd)
        await side.open()
        side.connection.ready(5)
        for _ in range(40):
            side.peer.send(message_frame() * 100)
            side.peer.refuse(b"E_FIN_FAILED x")
            await until(lambda: side.messages)
            while side.messages:
                side.messages.pop().finish()
        assert not side.connection.closed()
        side.connection.close()

    async def test_one_that_does_not_read_is_disconnected(
        self, nsqd: FakeNsqd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dial, "_MAX_UNSENT_BYTES", MIB)
        side = Subscriber(nsqd)
        await side.open()
        side.connection.send(b"x" * (MIB + 1))
        assert str(await side.end()).endswith("does not read what is sent to it")

    async def test_its_texts_are_clipped(self, nsqd: FakeNsqd) -> None:
        side = Subscriber(nsqd)
        await side.open()
        side.peer.refuse(b"E_" + b"X" * 900_000 + b" " + b"\x1b[31m\n" * 100_000)
        error = await side.end()
        assert isinstance(error, RefusedError)
        assert is_a_line(str(error)[:999])
        assert len(str(error)) < 3000

    async def test_the_answer_to_identify_is_clipped(self, nsqd: FakeNsqd) -> None:
        side = Subscriber(nsqd)
        opening = asyncio.create_task(side.connection.open())
        peer = await nsqd.accept()
        await peer.identify()
        peer.respond(json.dumps({"max_rdy_count": "x" * 900_000}).encode())
        with pytest.raises(ConnectionLostError) as caught:
            await opening
        assert is_a_line(str(caught.value))

    async def test_a_flood_leaves_time_for_others(self, nsqd: FakeNsqd) -> None:
        side = Subscriber(nsqd)
        await side.open()
        flooding = asyncio.create_task(flood(side.peer, frame(0, b"_heartbeat_") * 10_000))
        await turns(50)
        side.connection.close()
        await flooding
