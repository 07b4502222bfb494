"""The wire to one nsqd: a stream with the layers (TLS, compression) that the handshake adds.

It knows nothing of the meaning of the bytes.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from tornado.iostream import IOStream

from nsqkit.nsq.tls import Tls, TlsLayer

CHUNK_BYTES = 65536


class Layer(Protocol):
    """A transformation of a connection's bytes, such as encryption or compression.

    Attributes:
        has_more: Whether :meth:`decode` must be called again, with ``b""``, before further bytes are read.
    """

    has_more: bool

    def encode(self, data: bytes) -> bytes:
        """Return all bytes to send for this data."""

    def decode(self, data: bytes) -> bytes:
        """Decode bytes that begin and end anywhere; return the complete part, which may be empty.

        The size of the result is bounded, see *has_more*.
        """


class Wire:
    """One stream and its layers.

    Args:
        stream: Stream of the connection; its creator closes it.
        on_waiting: Called when a read has to wait for bytes.

    Attributes:
        is_private: Whether TLS is established.
    """

    def __init__(self, stream: IOStream, on_waiting: Callable[[], None]) -> None:
        self.is_private = False
        self._stream = stream
        self._on_waiting = on_waiting
        self._layers: list[Layer] = []  # the outermost first
        self._rest = b""  # bytes that were read but not returned yet
        self._has_more = False

    async def read(self) -> bytes:
        """Return the next bytes, at least one.

        Raises:
            StreamClosedError: If the connection ends first.
            OSError: If TLS or snappy cannot decode them; for TLS an ``ssl.SSLError``.
            zlib.error: If deflate cannot decode them.
        """
        data, self._rest = self._rest, b""
        while not data:
            if self._has_more:
                await asyncio.sleep(0)
                data = self._decoded(b"")
                continue
            reading = asyncio.ensure_future(self._stream.read_bytes(CHUNK_BYTES, partial=True))
            if reading.done():  # the peer sends without a break: let other tasks run after each chunk
                await asyncio.sleep(0)
            else:
                self._on_waiting()
            data = await reading
            if self._layers:
                data = self._decoded(data)
        return data

    async def read_exactly(self, size: int) -> bytes:
        """Return the next *size* bytes; raises the errors of :meth:`read`."""
        data = b""
        while len(data) < size:
            data += await self.read()
        self._rest = data[size:]
        return data[:size]

    def write(self, data: bytes) -> None:
        """Send data as soon as the socket accepts it."""
        for layer in reversed(self._layers):
            data = layer.encode(data)
        self._stream.write(data)

    def add(self, layer: Layer) -> None:
        """Add a layer for all bytes that are not read yet and for all further writes."""
        self._layers.append(layer)
        self._rest = layer.decode(self._rest)
        self._has_more = layer.has_more

    def _decoded(self, data: bytes) -> bytes:
        for layer in self._layers:
            data = layer.decode(data)
        self._has_more = any(layer.has_more for layer in self._layers)
        return data

    async def start_tls(self, tls: Tls, host: str) -> None:
        """Start TLS, and check nsqd's certificate.

        Unread bytes in plain text count as the first bytes of the TLS handshake, so that an attacker cannot
        inject an answer.

        Raises:
            OSError: If the connection is lost; if nsqd has no TLS or its certificate is not accepted, an
                ``ssl.SSLError``.
        """
        layer = TlsLayer(tls, host)
        data, self._rest = self._rest, b""
        try:
            while not layer.shake_hands(data):
                self._stream.write(layer.encode(b""))
                data = await self.read()
        finally:
            if not self._stream.closed():
                self._stream.write(layer.encode(b""))  # the end of the handshake, or an alert
        self.add(layer)
        self.is_private = True
