"""Answering: waits until servers answer."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

import httpx

_TCP: Final = "tcp://"
_AGAIN_S: Final = 0.1


async def all_answer(urls: Sequence[str]) -> None:
    """Return when all servers have answered; it may wait for ever.

    Args:
        urls: ``http://…``, which answers with success, or ``tcp://host:port``, which accepts connections.
    """
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(_answers(http, url))


async def _answers(http: httpx.AsyncClient, url: str) -> None:
    while True:
        with contextlib.suppress(OSError, httpx.TransportError):
            if await (_accepts(url) if url.startswith(_TCP) else _succeeds(http, url)):
                return
        await asyncio.sleep(_AGAIN_S)


async def _succeeds(http: httpx.AsyncClient, url: str) -> bool:
    return (await http.get(url)).is_success


async def _accepts(url: str) -> bool:
    host, _, port = url.removeprefix(_TCP).partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.close()
    return True
