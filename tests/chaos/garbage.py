"""Garbage: a server in the place of a nsqlookupd, that knows nothing, and for a while answers garbage."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence

from tests.chaos.orders import FLEETING
from tests.ports import free_port

_EMPTY = json.dumps({"producers": [], "channels": [], "topics": []}).encode()
_DEEP = 100_000
_HUGE_HEADER_BYTES = 70_000


class GarbageLookupd:
    """Answers with one kind of garbage after another while ``is_garbled``; otherwise it knows no topic.

    Args:
        known: ``host:port`` of the TCP ports of real nsqd, which it names twice among others.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.is_garbled = False
        self._garbage = itertools.cycle(_garbage(known))
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen."""
        host, _, port = self.address.rpartition(":")
        self._server = await asyncio.start_server(self._serve, host, int(port))

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            asked = await reader.readuntil(b"\r\n\r\n")
            # A worker brings back a deleted topic where a nsqlookupd names an nsqd for it.
            is_garbled = self.is_garbled and f"topic={FLEETING}".encode() not in asked
            writer.write(next(self._garbage) if is_garbled else _response(_EMPTY))
            await writer.drain()
        writer.close()


def _garbage(known: Sequence[str]) -> list[bytes]:
    hosts = ["http://10.0.0.9", "my host", "", "\ud800", "x" * 900_000]
    producers: list[object] = [{"broadcast_address": host, "tcp_port": 1, "http_port": 2} for host in hosts]
    producers += [None, 7, {"broadcast_address": "10.0.0.9", "tcp_port": 10**9, "http_port": -1}]
    for address in (*known, *known):
        host, _, port = address.rpartition(":")
        producers.append({"broadcast_address": host, "tcp_port": int(port), "http_port": 0})
    return [
        _response(b"[" * _DEEP),
        _response(_EMPTY, more=f"X-Huge: {'x' * _HUGE_HEADER_BYTES}\r\n"),
        _response(json.dumps({"producers": producers, "channels": [None, 7, "\ud800"]}).encode()),
        _response(b'{"producers": 7}'),
        _response(b"\xff\xfe\x00"),
        b"garbage\r\n\r\n",
        b"",
    ]


def _response(body: bytes, more: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body
