"""Streams: the bytes of one TCP connection, on an asyncio transport. It knows nothing of their meaning."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from typing import cast

CHUNK_BYTES = 65536
"""Most bytes of one read, of which there is one in a turn of the event loop; others run after each."""


class _Buffers(threading.local):
    """The buffer that all streams of an event loop read into: none keeps bytes in it from turn to turn."""

    def __init__(self) -> None:
        self.chunk = memoryview(bytearray(CHUNK_BYTES))


_buffers = _Buffers()


class Stream(asyncio.BufferedProtocol):
    """One TCP connection, read on demand until :meth:`listen`, which has bytes passed on as they arrive.

    While nobody reads or listens, it takes no further chunk. The end is reported after all bytes that arrived
    before it, even if a write fails first: nsqd refuses a body that is too big before it has read it, so
    further writes fail with a reset while nsqd's reason is still unread.

    Args:
        connected: The connected socket.
        max_unsent_bytes: Bytes that the peer has not read and that end the connection.

    Attributes:
        socket: The socket; None once the stream is closed.
    """

    def __init__(self, connected: socket.socket, max_unsent_bytes: int) -> None:
        self.socket: socket.socket | None = connected
        self._max_unsent_bytes = max_unsent_bytes
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._chunk = _buffers.chunk
        self._transport: asyncio.Transport
        self._unread = b""
        self._error: Exception | None = None
        self._reading: asyncio.Future[None] | None = None
        self._is_listening = False
        self._on_bytes: Callable[[bytes], None]
        self._on_end: Callable[[Exception], None] = lambda _: None

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or its end was reported."""
        return self.socket is None

    async def read(self) -> bytes:
        """Return the next bytes, at least one.

        Raises:
            OSError: If the stream ended or was closed.
        """
        while not self._unread:
            if self.is_closed or self._error is not None:
                raise self._error or ConnectionError("closed by this process")
            self._reading = self._loop.create_future()
            self._transport.resume_reading()
            await self._reading
        data, self._unread = self._unread, b""
        return data

    def listen(self, on_bytes: Callable[[bytes], None], on_end: Callable[[Exception], None]) -> None:
        """Pass all further bytes on as they arrive, at most :data:`CHUNK_BYTES` in a turn of the event loop.

        Args:
            on_bytes: Called with the next bytes; an error that it raises ends the stream.
            on_end: Called once when the stream ends, unless :meth:`close` was called.
        """
        self._is_listening, self._on_bytes, self._on_end = True, on_bytes, on_end
        data, self._unread = self._unread, b""
        if data:
            self._receive(data)
        if self._error is not None and self._is_listening:
            self.fail(self._error)
        elif self._is_listening:
            self._transport.resume_reading()

    def pause(self) -> None:
        """Pass nothing on until :meth:`listen` is called again."""
        self._is_listening = False
        self._transport.pause_reading()

    def write(self, data: bytes) -> None:
        """Send data as soon as the socket accepts it; it is lost if the stream has ended."""
        if self.is_closed or self._error is not None:
            return
        if len(data) + self._transport.get_write_buffer_size() > self._max_unsent_bytes:
            self.fail(OSError("does not read what is sent to it"))
        else:
            self._transport.write(data)

    def write_eof(self) -> None:
        """Close the sending side once all data is sent; nothing may be written after this.

        Raises:
            OSError: If the connection is lost.
        """
        if not self.is_closed and self._error is None:
            self._transport.write_eof()

    def fail(self, error: Exception) -> None:
        """Close, and report *error* as the end."""
        if not self.is_closed:
            self._error = error
            self.close()
            self._on_end(error)

    def close(self) -> None:
        """Close at once; bytes that the socket has not accepted are lost. Allowed at any time."""
        if not self.is_closed:
            self.socket = None
            self._unread = b""
            self._transport.abort()
            self._wake_reader()

    def abandon(self) -> None:
        """Close the socket though the event loop does not run any more.

        In a child process after a fork, only the child's copy is closed: the event loop would remove the
        socket from the selector of the parent, too.
        """
        if self.socket is None:
            return
        if os.getpid() != self._pid:
            os.close(self.socket.detach())
        elif not self._loop.is_closed():
            self._transport.abort()
        self.socket.close()
        self.socket = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; asyncio calls this."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(0)  # or uvloop writes at the end of a turn, after a close

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return the buffer to read into; asyncio calls this."""
        return self._chunk

    def buffer_updated(self, nbytes: int) -> None:
        """Pass bytes on; asyncio calls this."""
        self._receive(bytes(self._chunk[:nbytes]))

    def eof_received(self) -> None:
        """End, since the peer has closed its side; asyncio calls this."""
        self._end(ConnectionError("closed by the other side"))

    def connection_lost(self, error: Exception | None) -> None:
        """End; asyncio calls this, also when a write failed, and closes the socket after it."""
        if error is not None:
            self._receive_rest()
        self._end(error or ConnectionError("closed by the other side"))

    def _receive(self, data: bytes) -> None:
        if not self._is_listening:
            self._unread += data
            self._transport.pause_reading()
            self._wake_reader()
            return
        try:
            self._on_bytes(data)
        except Exception as error:  # noqa: BLE001 - a peer may send anything
            self.fail(error)

    def _receive_rest(self) -> None:
        # A reset comes after all that the peer has sent: it is here, or lost.
        try:
            while self.socket is not None and (data := self.socket.recv(CHUNK_BYTES)):
                self._receive(data)
        except OSError:
            pass

    def _end(self, error: Exception) -> None:
        if self.is_closed or self._error is not None:
            return
        if self._is_listening:
            self.fail(error)
        else:
            self._error = error
            self._transport.abort()
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)
