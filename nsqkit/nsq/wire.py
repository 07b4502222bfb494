"""The wire to one nsqd: a stream with the layers (TLS, compression) that the handshake adds.

It knows nothing of the meaning of the bytes.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from nsqkit.nsq.stream import Stream
from nsqkit.nsq.tls import Tls, TlsLayer


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
    """One stream and its layers, read on demand until :meth:`listen`.

    Args:
        stream: Stream of the connection; its creator closes it.

    Attributes:
        is_private: Whether TLS is established.
    """

    def __init__(self, stream: Stream) -> None:
        self.is_private = False
        self._stream = stream
        self._layers: list[Layer] = []  # the outermost first
        self._rest = b""  # bytes that were read but not returned yet
        self._has_more = False
        self._received_s = 0.0
        self._heard: Callable[[int], float]
        self._on_chunk: Callable[[bytes, float], None]
        self._on_end: Callable[[Exception], None]

    async def read(self) -> bytes:
        """Return the next bytes, at least one.

        Raises:
            OSError: If the connection ends first, or if TLS or snappy cannot decode them; for TLS an
                ``ssl.SSLError``.
            zlib.error: If deflate cannot decode them.
        """
        data, self._rest = self._rest, b""
        while not data:
            if self._has_more:
                await asyncio.sleep(0)
                data = self._decoded(b"")
                continue
            data = await self._stream.read()
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

    def listen(
        self,
        on_chunk: Callable[[bytes, float], None],
        on_end: Callable[[Exception], None],
        heard: Callable[[int], float],
    ) -> None:
        """Pass all further bytes on as they arrive; others run after each chunk, and each step of decoding.

        Args:
            on_chunk: Called with the next bytes and what *heard* returned; an error that it raises ends the
                stream.
            on_end: Called once when the stream ends, unless its creator closes it.
            heard: Called with the number of bytes that arrived; returns the latest time of their arrival.

        Raises:
            Exception: Whatever *on_chunk* raises for bytes that were read before.
        """
        self._on_chunk, self._on_end, self._heard = on_chunk, on_end, heard
        rest, self._rest = self._rest, b""
        self._received_s = heard(len(rest))
        if rest:
            on_chunk(rest, self._received_s)
        self._go_on()

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
            self._stream.write(layer.encode(b""))  # the end of the handshake, or an alert
        self.add(layer)
        self.is_private = True

    def _receive(self, data: bytes) -> None:
        self._received_s = self._heard(len(data))
        self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        if self._layers:
            data = self._decoded(data)
        if data:
            self._on_chunk(data, self._received_s)
        if self._has_more:
            self._stream.pause()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._stream.is_closed:
            return
        try:
            self._pass_on(b"")
        except Exception as error:  # noqa: BLE001 - a peer may send anything
            self._stream.fail(error)
        else:
            if not self._has_more:
                self._stream.listen(self._receive, self._on_end)
