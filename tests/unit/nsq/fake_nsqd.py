"""A scripted nsqd: a test reads each command as it came over the wire, and writes each frame."""

import asyncio
import contextlib
import json
import struct
import time
from typing import Any, Self

from tests.waiting import PATIENCE_S

ID = b"0123456789abcdef"
_COMMANDS_WITH_BODY = (b"IDENTIFY", b"AUTH", b"PUB", b"DPUB", b"MPUB")
IDENTIFY_REPLY: dict[str, object] = {
    "max_rdy_count": 2500,
    "version": "1.3.0",
    "max_msg_timeout": 900_000,
    "msg_timeout": 60_000,
    "auth_required": False,
}


def frame(kind: int, data: bytes) -> bytes:
    return struct.pack(">ii", len(data) + 4, kind) + data


def message_frame(
    id_: bytes = ID, body: bytes = b"body", *, attempts: int = 1, timestamp_ns: int | None = None
) -> bytes:
    """Return a delivery; by default of a message that was published just now."""
    published_ns = time.time_ns() if timestamp_ns is None else timestamp_ns
    return frame(2, struct.pack(">qH", published_ns, attempts) + id_ + body)


def sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def pub(body: bytes, topic: bytes = b"orders") -> bytes:
    return b"PUB %s\n" % topic + sized(body)


def mpub(*bodies: bytes, topic: bytes = b"orders") -> bytes:
    return b"MPUB %s\n" % topic + sized(struct.pack(">i", len(bodies)) + b"".join(map(sized, bodies)))


class Peer:
    """nsqd's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def command(self) -> bytes:
        """Return the next command, body included, exactly as it came."""
        async with asyncio.timeout(PATIENCE_S):
            line = await self._reader.readuntil(b"\n")
            if line.strip().split(b" ")[0] not in _COMMANDS_WITH_BODY:
                return line
            length = await self._reader.readexactly(4)
            return line + length + await self._reader.readexactly(*struct.unpack(">i", length))

    async def some(self) -> bytes:
        """Return what has come, as it is."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read(65536)

    async def expect(self, *commands: bytes) -> None:
        """Check the next commands, in their order."""
        for command in commands:
            assert await self.command() == command

    async def expect_end(self) -> None:
        """Check that the client closes its side without another byte."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                assert await self._reader.read() == b""

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def respond(self, text: bytes = b"OK") -> None:
        self.send(frame(0, text))

    def refuse(self, text: bytes) -> None:
        self.send(frame(1, text))

    async def identify(self) -> dict[str, Any]:
        """Take the magic and IDENTIFY, and return what it says."""
        async with asyncio.timeout(PATIENCE_S):
            assert await self._reader.readexactly(4) == b"  V2"
        command = await self.command()
        line, _, rest = command.partition(b"\n")
        assert line == b"IDENTIFY"
        said: dict[str, Any] = json.loads(rest[4:])
        return said

    async def shake_hands(self, **reply: object) -> dict[str, Any]:
        said = await self.identify()
        self.respond(json.dumps(IDENTIFY_REPLY | reply).encode())
        return said

    async def subscribed(self, topic: str = "orders", channel: str = "stock", **reply: object) -> None:
        """Shake hands, and accept a SUB."""
        await self.shake_hands(**reply)
        await self.expect(f"SUB {topic} {channel}\n".encode())
        self.respond()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.writer.transport.abort()


class FakeNsqd:
    """Listens on a free port, or on the one it is told."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host = host
        self.port = port
        self._peers: list[Peer] = []
        self._waiting: asyncio.Queue[Peer] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._on_client, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for peer in self._peers:
            await peer.close()

    async def stop_listening(self) -> None:
        """Refuse further connections; those that were accepted stay."""
        assert self._server is not None
        self._server.close()

    async def publisher(self) -> Peer:
        """Return the next connection, which only publishes."""
        peer = await self.accept()
        await peer.shake_hands()
        return peer

    async def accept(self) -> Peer:
        """Return the next connection."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._waiting.get()

    async def serve(self, *topics: str, channel: str = "stock", **reply: object) -> dict[str, Peer]:
        """Accept one subscription per topic, in whatever order they come."""
        peers = {}
        for _ in topics:
            peer = await self.accept()
            await peer.shake_hands(**reply)
            _, topic, named = (await peer.command()).split()
            assert named == channel.encode()
            peer.respond()
            peers[topic.decode()] = peer
        assert sorted(peers) == sorted(topics)
        return peers

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits to be accepted."""
        return self._waiting.empty()

    def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._waiting.put_nowait(peer)
