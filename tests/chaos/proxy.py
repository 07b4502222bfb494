"""A TCP proxy that stands before one nsqd, and can cut its connections."""

import asyncio
import contextlib
import random
import re
import socket
import struct
from dataclasses import dataclass

_CHUNK_BYTES = 65536
_SUB = re.compile(rb"(^|\n)SUB ")
_RESET = struct.pack("ii", 1, 0)  # close() then sends RST


@dataclass(eq=False, slots=True)
class _Link:
    """One connection through the proxy: both of its sides, and how much it carried since the last cut."""

    sides: tuple[asyncio.StreamWriter, asyncio.StreamWriter]
    carried_bytes: int = 0
    is_silent: bool = False

    def cut(self) -> None:
        """Reset both sides: what is on its way is gone, also what the other end has not read yet."""
        for side in self.sides:
            if not side.is_closing():
                side.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            side.transport.abort()


class Proxy:
    """Forwards what comes to one port.

    Args:
        port: Where it listens, on 127.0.0.1.
        target: The port on 127.0.0.1 that it forwards to.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts_subscribers = False
        """Whether each connection is cut right after its SUB."""

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Listen no more, and cut every connection."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut_one(self, draws: random.Random) -> bool:
        """Cut one connection, most likely a busy one; return whether there is any."""
        links = list(self._links)
        if not links:
            return False
        (link,) = draws.choices(links, [1 + link.carried_bytes for link in links])
        link.cut()
        for each in links:
            each.carried_bytes = 0
        return True

    async def silence(self, end: asyncio.Event) -> None:
        """Swallow all that the connections of now carry, and cut those that are left at the end."""
        links = list(self._links)
        for link in links:
            link.is_silent = True
        await end.wait()
        for link in links:
            link.cut()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a server runs this in a task")
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # by close(); asyncio would log it
                await self._forward(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            return  # nsqd is down
        link = _Link((writer, target[1]))
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, target[1], link))
                group.create_task(self._pump(target[0], writer, link))
        finally:
            self._links.discard(link)
            for side in link.sides:
                side.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        """Forward one direction to its end; the other may go on after that."""
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if link.is_silent:
                    continue
                link.carried_bytes += len(data)
                writer.write(data)
                await writer.drain()
                if self.cuts_subscribers and _SUB.search(data):
                    link.cut()
            if not link.is_silent:
                writer.write_eof()
            return
        link.cut()
