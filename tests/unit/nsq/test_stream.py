"""Streams: what arrived is passed on before the end, however that comes, and little waits in between."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator

import pytest

from nsqkit.nsq.dial import dial
from nsqkit.nsq.stream import CHUNK_BYTES, Stream
from tests.waiting import PATIENCE_S, turns, until

MIB = 1024 * 1024


class Peer:
    """The other end, as a blocking socket."""

    def __init__(self, accepted: socket.socket) -> None:
        self.socket = accepted
        accepted.settimeout(PATIENCE_S)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    async def read_all(self) -> bytes:
        """Return all bytes up to the end."""

        def read() -> bytes:
            return b"".join(iter(lambda: self.socket.recv(MIB), b""))

        return await asyncio.to_thread(read)


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
async def stream(server: socket.socket) -> AsyncIterator[Stream]:
    stream = await dial("127.0.0.1", server.getsockname()[1], PATIENCE_S)
    yield stream
    stream.close()
    await turns(2)


@pytest.fixture
def peer(stream: Stream, server: socket.socket) -> Iterator[Peer]:
    accepted, _ = server.accept()
    with accepted:
        yield Peer(accepted)


class Listener:
    """Takes what a stream passes on, in order."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.chunks: list[bytes] = []
        self.ends: list[Exception] = []

    @property
    def data(self) -> bytes:
        return b"".join(self.chunks)

    def listen(self) -> None:
        self.stream.listen(self._take, self.ends.append)

    async def end(self) -> str:
        await until(lambda: self.ends)
        (error,) = self.ends
        return str(error)

    def _take(self, data: bytes) -> None:
        assert not self.ends
        self.chunks.append(data)


@pytest.fixture
def listener(stream: Stream) -> Listener:
    return Listener(stream)


class TestRead:
    async def test_bytes_before_the_end_are_read_and_then_it_is_an_error(
        self, stream: Stream, peer: Peer
    ) -> None:
        peer.socket.sendall(b"last")
        peer.socket.close()
        assert await stream.read() == b"last"
        for _ in range(2):
            with pytest.raises(ConnectionError, match="closed by the other side"):
                await stream.read()

    async def test_what_was_said_before_a_reset_is_read_though_writing_meets_the_reset_first(
        self, stream: Stream, peer: Peer
    ) -> None:
        """So does nsqd with a connection on which too big a body still comes, right after saying so."""
        peer.socket.sendall(b"why")
        peer.reset()
        stream.write(b"the rest of the body")
        stream.write(b"and more of it")
        assert await stream.read() == b"why"
        with pytest.raises(ConnectionError):
            await stream.read()

    async def test_what_nobody_reads_stays_with_the_peer(self, stream: Stream, peer: Peer) -> None:
        peer.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):  # until nothing more fits between the two
            while peer.socket.send(b"x" * MIB):
                await turns(5)
        assert len(stream._unread) <= CHUNK_BYTES

    async def test_a_cancelled_read_loses_nothing(self, stream: Stream, peer: Peer) -> None:
        reading = asyncio.create_task(stream.read())
        await turns()
        reading.cancel()
        peer.socket.sendall(b"data")
        await asyncio.wait({reading})
        assert await stream.read() == b"data"

    async def test_close_ends_a_read(self, stream: Stream, peer: Peer) -> None:
        reading = asyncio.create_task(stream.read())
        await turns()
        stream.close()
        with pytest.raises(ConnectionError, match="closed by this process"):
            await reading


class TestListen:
    async def test_what_was_not_read_comes_first(
        self, stream: Stream, peer: Peer, listener: Listener
    ) -> None:
        peer.socket.sendall(b"one")
        await until(lambda: stream._unread)
        listener.listen()
        assert listener.chunks == [b"one"]
        peer.socket.sendall(b"two")
        await until(lambda: listener.data == b"onetwo")

    async def test_a_chunk_is_no_longer_than_said(self, peer: Peer, listener: Listener) -> None:
        """Others run after each, for there is one in a turn."""
        listener.listen()
        sending = asyncio.create_task(asyncio.to_thread(peer.socket.sendall, b"x" * MIB))
        await until(lambda: len(listener.data) == MIB)
        await sending
        assert max(map(len, listener.chunks)) <= CHUNK_BYTES

    async def test_bytes_before_the_end_are_passed_on_before_it(self, peer: Peer, listener: Listener) -> None:
        listener.listen()
        peer.socket.sendall(b"last")
        peer.socket.close()
        assert await listener.end() == "closed by the other side"
        assert listener.chunks == [b"last"]
        assert listener.stream.is_closed

    async def test_bytes_before_a_reset_are_passed_on_though_writing_meets_it_first(
        self, stream: Stream, peer: Peer, listener: Listener
    ) -> None:
        listener.listen()
        peer.socket.sendall(b"why")
        peer.reset()
        stream.write(b"the rest of the body")
        stream.write(b"and more of it")
        await listener.end()
        assert listener.chunks == [b"why"]

    async def test_a_pause_holds_up_bytes_and_the_end(
        self, stream: Stream, peer: Peer, listener: Listener
    ) -> None:
        listener.listen()
        stream.pause()
        peer.socket.sendall(b"last")
        peer.reset()
        stream.write(b"the rest of the body")
        await turns(5)
        assert (listener.chunks, listener.ends, stream.is_closed) == ([], [], False)
        listener.listen()
        assert await listener.end()
        assert listener.chunks == [b"last"]

    async def test_an_error_of_the_listener_ends_the_stream_with_it(self, stream: Stream, peer: Peer) -> None:
        ends: list[Exception] = []

        def refuse(data: bytes) -> None:
            raise LookupError(data)

        stream.listen(refuse, ends.append)
        peer.socket.sendall(b"data")
        assert await peer.read_all() == b""
        assert [type(error) for error in ends] == [LookupError]

    async def test_close_reports_no_end(self, stream: Stream, peer: Peer, listener: Listener) -> None:
        listener.listen()
        stream.close()
        stream.close()
        assert await peer.read_all() == b""
        assert listener.ends == []


class TestWrite:
    async def test_what_is_written_just_before_close_leaves(self, stream: Stream, peer: Peer) -> None:
        stream.write(b"one")
        stream.write(b"two")
        stream.close()
        stream.write(b"lost")
        assert await peer.read_all() == b"onetwo"

    async def test_a_peer_that_does_not_read_ends_it(
        self, stream: Stream, peer: Peer, listener: Listener
    ) -> None:
        stream._max_unsent_bytes = 20 * MIB
        listener.listen()
        stream.write(b"x" * 15 * MIB)
        assert not listener.ends
        stream.write(b"x" * 15 * MIB)
        assert await listener.end() == "does not read what is sent to it"

    async def test_the_sending_side_is_closed_after_all_is_sent_and_the_rest_is_still_received(
        self, stream: Stream, peer: Peer, listener: Listener
    ) -> None:
        listener.listen()
        stream.write(b"x" * 15 * MIB)
        stream.write_eof()
        assert len(await peer.read_all()) == 15 * MIB
        peer.socket.sendall(b"late")
        peer.socket.close()
        assert await listener.end() == "closed by the other side"
        assert listener.chunks == [b"late"]


class TestAbandon:
    async def test_a_child_process_closes_only_its_copy(
        self, stream: Stream, peer: Peer, listener: Listener
    ) -> None:
        """The selector is shared with the parent; libuv's is not, but its sockets are."""
        listener.listen()
        pid = os.fork()
        if not pid:
            connected = stream.socket
            assert connected is not None
            descriptor = connected.fileno()
            stream.abandon()
            try:
                os.fstat(descriptor)
            except OSError:
                os._exit(0)
            os._exit(1)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert status == 0
        peer.socket.sendall(b"still here")
        await until(lambda: listener.data == b"still here")

    async def test_it_is_final(self, stream: Stream, peer: Peer) -> None:
        stream.abandon()
        stream.abandon()
        stream.write(b"lost")
        assert stream.is_closed
        assert await peer.read_all() == b""
