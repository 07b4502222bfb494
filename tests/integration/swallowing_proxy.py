"""A TCP proxy that can stop forwarding, without a word to either side."""

import asyncio
from typing import Self

from tests.ports import free_port


class SwallowingProxy:
    """Forwards to an nsqd; bytes on connections from before :meth:`swallow` are lost afterwards.

    Args:
        target: ``host:port`` to forward to.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._port = free_port()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self.address = f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_client, "127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.swallow()
        self._server.close()
        for writer in self._writers:
            writer.close()

    def swallow(self) -> None:
        """Forward nothing more over the existing connections, and leave them open."""
        for each in self._forwarding:
            each.cancel()
        self._forwarding.clear()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.partition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        self._writers += (writer, far_writer)
        for ends in ((reader, far_writer), (far_reader, writer)):
            self._forwarding.add(asyncio.create_task(_forward(*ends)))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()
