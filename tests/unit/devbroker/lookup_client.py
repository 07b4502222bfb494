"""An nsqd as nsqlookupd sees it, that says exactly what a test tells it to."""

import asyncio
import contextlib
import json
import struct
from typing import Any

from tests.unit.devbroker.raw_client import http, sized
from tests.waiting import PATIENCE_S

NSQD: dict[str, Any] = {
    "broadcast_address": "nsqd1",
    "hostname": "host1",
    "tcp_port": 4150,
    "http_port": 4151,
    "version": "1.3.0",
}


def identify(**changes: object) -> bytes:
    """Return an IDENTIFY of an nsqd, with changes."""
    return b"IDENTIFY\n" + sized(json.dumps(NSQD | changes).encode())


class LookupClient:
    """One TCP connection to an nsqlookupd."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: str, *, magic: bytes = b"  V1") -> "LookupClient":
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(magic)
        return cls(reader, writer)

    async def reply(self) -> bytes | None:
        """Return the next reply, or None when the connection is closed."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                (size,) = struct.unpack(">i", await self._reader.readexactly(4))
                return await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def ask(self, command: bytes) -> bytes | None:
        self._writer.write(command)
        return await self.reply()

    async def exchange(self, *data: bytes) -> list[bytes]:
        """Send commands and then one that does not exist; return all replies up to the close."""
        self._writer.write(b"".join(data) + b"END\n")
        replies = []
        while (reply := await self.reply()) is not None:
            replies.append(reply)
        await self.close()
        return replies

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def read(http_address: str, path: str) -> Any:
    """Return what an nsqlookupd answers to a GET, as JSON."""
    _, body = await http(http_address, "GET", path)
    return json.loads(body)
