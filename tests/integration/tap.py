"""A TCP proxy in front of an nsqd: it keeps what the client sends, and cuts both ways into small pieces."""

import asyncio
import contextlib
from typing import Self


class Tap:
    """Passes bytes on between clients and one nsqd.

    Args:
        target: ``host:port`` of the nsqd.
        piece_bytes: The most that is passed on at a time.

    Attributes:
        sent: All that clients have sent.
        address: Where it listens, once it has begun.
    """

    def __init__(self, target: str, piece_bytes: int = 65536) -> None:
        self.sent = bytearray()
        self.address = ""
        self._host, _, self._port = target.partition(":")
        self._piece_bytes = piece_bytes
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_nsqd, to_nsqd = await asyncio.open_connection(self._host, int(self._port))
        self._tasks.add(asyncio.create_task(self._pass(reader, to_nsqd, self.sent)))
        self._tasks.add(asyncio.create_task(self._pass(from_nsqd, writer, bytearray())))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray
    ) -> None:
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while data := await reader.read(self._piece_bytes):
                kept += data
                writer.write(data)
                await asyncio.sleep(0)  # the other end reads this before it gets the next
