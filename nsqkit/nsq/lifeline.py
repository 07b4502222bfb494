"""Lifeline: an idle connection to an HTTP port, which ends when the server's process ends."""

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.dial import dial, reason
from nsqkit.policy.address import split_address
from nsqkit.program import is_set_within

if TYPE_CHECKING:
    from nsqkit.nsq.stream import Stream


class Lifeline:
    """An async context manager around an open connection: while it lasts, the server is the same process.

    Args:
        address: ``host:port`` of the HTTP port.
        timeout_s: Time limit of the connect, and of each ping, in seconds above 0.

    Attributes:
        ended: Set when the connection is closed.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        self.ended = asyncio.Event()
        self._answered = asyncio.Event()
        self._address = address
        self._timeout_s = timeout_s
        self._stream: Stream
        self._listening: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectionLostError: If the port cannot be reached.
        """
        try:
            self._stream = await dial(*split_address(self._address), self._timeout_s)
        except OSError as error:
            raise ConnectionLostError(self._address, reason(error)) from error
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        self._stream.close()
        await self._listening

    async def ping(self) -> bool:
        """Return whether the server still answers on this connection."""
        if self.ended.is_set():
            return False
        self._answered.clear()
        self._stream.write(f"GET /ping HTTP/1.1\r\nHost: {self._address}\r\n\r\n".encode())
        return await is_set_within(self._answered, self._timeout_s)

    async def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while await self._stream.read():
                self._answered.set()
        self.ended.set()
