"""The bytes to and from one nsqd: a stream, and the layers (TLS, compression) that the handshake puts on it.

It knows nothing of what the bytes mean.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from tornado.iostream import IOStream

from nsqkit.nsq.tls import Tls, TlsLayer

CHUNK_BYTES = 65536


class Layer(Protocol):
    """What turns the bytes of a connection into others, piece by piece as they come."""

    def encode(self, data: bytes) -> bytes:
        """Return what is to be sent for this data, all of it."""

    def decode(self, data: bytes) -> bytes:
        """Return what these bytes complete, which may be nothing; they begin and end anywhere."""


class Wire:
    """One stream and its layers.

    Args:
        stream: The connection. Whoever made it closes it.
        on_waiting: Called when there is nothing to read.

    Attributes:
        is_private: Whether TLS is up.
    """

    def __init__(self, stream: IOStream, on_waiting: Callable[[], None]) -> None:
        self.is_private = False
        self._stream = stream
        self._on_waiting = on_waiting
        self._layers: list[Layer] = []  # the outermost first
        self._rest = b""  # what was read beyond what was asked for

    async def read(self) -> bytes:
        """Return what comes next, at least one byte.

        Raises:
            StreamClosedError: If the connection ends before.
            OSError: If a layer cannot read it; ``ssl.SSLError`` is one.
            zlib.error: Likewise.
        """
        data, self._rest = self._rest, b""
        while not data:
            reading = asyncio.ensure_future(self._stream.read_bytes(CHUNK_BYTES, partial=True))
            if not reading.done():
                self._on_waiting()
            data = await reading
            for layer in self._layers:
                data = layer.decode(data)
        return data

    async def read_exactly(self, size: int) -> bytes:
        """Return the next *size* bytes; errors as :meth:`read`."""
        data = b""
        while len(data) < size:
            data += await self.read()
        self._rest = data[size:]
        return data[:size]

    def write(self, data: bytes) -> None:
        """Send, as soon as the socket takes it."""
        for layer in reversed(self._layers):
            data = layer.encode(data)
        self._stream.write(data)

    def add(self, layer: Layer) -> None:
        """Put a layer on: it applies to all that has not been read yet, and to all that is written."""
        self._layers.append(layer)
        self._rest = layer.decode(self._rest)

    async def start_tls(self, tls: Tls, host: str) -> None:
        """Put TLS on, with nsqd's certificate checked.

        What came before in plain text and was not read counts as nsqd's first bytes in TLS, so
        that nobody in between can slip an answer in.

        Raises:
            OSError: If nsqd has no TLS, is not who it should be, or is gone; ``ssl.SSLError`` is one.
        """
        layer = TlsLayer(tls, host)
        data, self._rest = self._rest, b""
        try:
            while not layer.shake_hands(data):
                self._stream.write(layer.encode(b""))
                data = await self.read()
        finally:
            if not self._stream.closed():
                self._stream.write(layer.encode(b""))  # the end of the handshake, or what was wrong
        self.add(layer)
        self.is_private = True
