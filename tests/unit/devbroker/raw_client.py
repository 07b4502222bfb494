"""A client that says exactly what a test tells it to, for the embedded broker and for nsqd alike."""

import asyncio
import contextlib
import json
import struct
from dataclasses import dataclass
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.waiting import PATIENCE_S

RESPONSE, ERROR, MESSAGE = 0, 1, 2
HEARTBEAT = (RESPONSE, b"_heartbeat_")
_QUIET_S = 1.0

Frame = tuple[int, bytes]


def sized(*bodies: bytes) -> bytes:
    """Return bodies, each with its size before it."""
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


def pub(topic: str, *bodies: bytes) -> bytes:
    """Return one PUB per body."""
    return b"".join(f"PUB {topic}\n".encode() + sized(body) for body in bodies)


def dpub(topic: str, defer_ms: int, body: bytes) -> bytes:
    """Return a DPUB."""
    return f"DPUB {topic} {defer_ms}\n".encode() + sized(body)


def mpub(topic: str, *bodies: bytes) -> bytes:
    """Return an MPUB."""
    return f"MPUB {topic}\n".encode() + sized(struct.pack(">i", len(bodies)) + sized(*bodies))


def identify(**wish: object) -> bytes:
    """Return an IDENTIFY."""
    return b"IDENTIFY\n" + sized(json.dumps(wish).encode())


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came."""

    timestamp_ns: int
    attempts: int
    id: bytes
    body: bytes


class RawClient:
    """One TCP connection; heartbeats are left for the test to see where it asks for frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: str, *, magic: bytes = b"  V2") -> "RawClient":
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        client = cls(reader, writer)
        client.send(magic)
        return client

    def send(self, *data: bytes) -> None:
        self._writer.write(b"".join(data))

    async def frame(self) -> Frame | None:
        """Return the next frame, or None when the broker has closed the connection."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                head = await self._reader.readexactly(8)
                size, kind = struct.unpack(">ii", head)
                return kind, await self._reader.readexactly(size - 4)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

    async def frames_to_the_end(self) -> list[Frame]:
        frames = []
        while (frame := await self.frame()) is not None:
            frames.append(frame)
        return frames

    async def frames_until(self, reply: bytes, count: int) -> list[Frame]:
        """Return the frames up to the *count*th such reply, and that one."""
        frames: list[Frame] = []
        while frames.count((RESPONSE, reply)) < count:
            frame = await self.frame()
            assert frame is not None, frames
            frames.append(frame)
        return frames

    async def until_quiet(self) -> bytes:
        """Return all that is on its way, once nothing comes for a while; then close."""
        data = b""
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(_QUIET_S):
                    data += await self._reader.read(65_536)
        await self.close()
        return data

    async def exchange(self, *data: bytes) -> list[Frame]:
        """Send commands and then one that no broker knows; return all replies up to the close.

        Whatever was harmless is followed by the refusal of ``END``.
        """
        self.send(*data, b"END\n")
        frames = await self.frames_to_the_end()
        await self.close()
        return frames

    async def ask(self, *data: bytes) -> Frame | None:
        self.send(*data)
        return await self.frame()

    async def subscribe(self, topic: str, channel: str, ready: int = 0, **wish: object) -> None:
        assert await self.ask(identify(**wish)) == (RESPONSE, b"OK")
        assert await self.ask(f"SUB {topic} {channel}\n".encode()) == (RESPONSE, b"OK")
        if ready:
            self.send(b"RDY %d\n" % ready)

    async def message(self) -> Received:
        """Return the next message, past any heartbeats."""
        while (frame := await self.frame()) == HEARTBEAT:
            self.send(b"NOP\n")
        assert frame is not None
        kind, data = frame
        assert kind == MESSAGE, frame
        timestamp_ns, attempts, message_id = struct.unpack(">qH16s", data[:26])
        return Received(timestamp_ns, attempts, message_id, data[26:])

    async def messages(self, count: int) -> list[Received]:
        return [await self.message() for _ in range(count)]

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def http(address: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Return status and body of one HTTP request."""
    bodied = method in {"POST", "PUT"}
    request = HTTPRequest(
        f"http://{address}{path}", method=method, body=body if bodied else None, request_timeout=PATIENCE_S
    )
    response = await AsyncHTTPClient(force_instance=True).fetch(request, raise_error=False)
    return response.code, response.body or b""


async def stats(address: str, query: str = "") -> dict[str, Any]:
    """Return ``/stats`` as JSON."""
    status, body = await http(address, "GET", f"/stats?format=json{query}")
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


async def channel_stats(address: str, topic: str, channel: str) -> dict[str, Any]:
    """Return the statistics of one channel."""
    answer = await stats(address, f"&topic={topic}&channel={channel}")
    found: dict[str, Any] = answer["topics"][0]["channels"][0]
    return found
