"""Intruders: clients that use the ports of workers and nsqd as no client should."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

from tests.chaos.orders import CHANNEL

_POSTS = 5
_POST_BYTES = 50_000_000
_CHUNK_BYTES = 100_000
_IDLE = 100
_PIPELINED = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 200
_RDY = 20

Writer = asyncio.StreamWriter


async def abuse_admin_port(address: str, for_s: float) -> None:
    """Send large bodies, open connections and say nothing, and ask much without reading the answers.

    Args:
        address: ``host:port`` of a worker's admin port.
        for_s: Seconds until all of them leave.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s), asyncio.TaskGroup() as group:
            for _ in range(_POSTS):
                group.create_task(_connected(address, _post))
            for _ in range(_IDLE):
                group.create_task(_connected(address, _say_nothing))
            group.create_task(_connected(address, _pipeline))


async def consume_slowly(address: str, topic: str, for_s: float) -> None:
    """Subscribe to a channel of the workers, take some messages and say nothing of them, and leave.

    Args:
        address: ``host:port`` of nsqd's TCP port.
        topic: What to consume.
        for_s: Seconds until it leaves.
    """

    async def consume(writer: Writer) -> None:
        writer.write(f"  V2SUB {topic} {CHANNEL}\nRDY {_RDY}\n".encode())
        await asyncio.Event().wait()

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(for_s):
            await _connected(address, consume)


async def _connected(address: str, act: Callable[[Writer], Coroutine[Any, Any, None]]) -> None:
    """Open a connection, act on it, and keep it until cancelled; it may be refused or cut at any time."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection(host, int(port), limit=1)
        try:
            await act(writer)
        finally:
            writer.transport.abort()


async def _post(writer: Writer) -> None:
    writer.write(f"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {_POST_BYTES}\r\n\r\n".encode())
    for _ in range(_POST_BYTES // _CHUNK_BYTES):
        writer.write(bytes(_CHUNK_BYTES))
        await writer.drain()
    await asyncio.Event().wait()


async def _say_nothing(_writer: Writer) -> None:
    await asyncio.Event().wait()


async def _pipeline(writer: Writer) -> None:
    while True:
        writer.write(_PIPELINED)
        await writer.drain()
