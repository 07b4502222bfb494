"""Lifeline: an idle connection to an HTTP port, which ends when the server's process ends."""

import asyncio
from typing import Self

from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.dial import dial, reason
from nsqkit.policy.address import split_address

_MAX_HEADER_BYTES = 65536


class Lifeline:
    """An open connection: while it lasts, the server is the same process.

    Args:
        address: ``host:port`` of the HTTP port.
        stream: The connection.
        timeout_s: Time limit of a ping, in seconds above 0.

    Attributes:
        ended: Set when the connection is closed.
    """

    def __init__(self, address: str, stream: IOStream, timeout_s: float) -> None:
        self.ended = asyncio.Event()
        self._request = f"GET /ping HTTP/1.1\r\nHost: {address}\r\n\r\n".encode()
        self._stream = stream
        self._timeout_s = timeout_s
        stream.set_close_callback(self.ended.set)

    @classmethod
    async def open(cls, address: str, timeout_s: float) -> Self:
        """Connect to an HTTP port.

        Args:
            address: ``host:port`` of the HTTP port.
            timeout_s: Time limit of the connect, and of each ping, in seconds above 0.

        Raises:
            ConnectionLostError: If it cannot be reached.
        """
        try:
            return cls(address, await dial(*split_address(address), timeout_s), timeout_s)
        except OSError as error:
            raise ConnectionLostError(address, reason(error)) from error

    async def ping(self) -> bool:
        """Return whether the server still answers on this connection."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._stream.write(self._request)
                await self._stream.read_until(b"\r\n\r\n", max_bytes=_MAX_HEADER_BYTES)
        except (StreamClosedError, UnsatisfiableReadError, TimeoutError):
            return False
        return not self.ended.is_set()

    def close(self) -> None:
        """Close the connection; may be called twice."""
        self._stream.close()
