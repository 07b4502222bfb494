"""Reading what was published, as a program of somebody else does."""

import asyncio
import json
import urllib.request
from typing import Any

from nsqkit.nsq import Connection, ConnectionOptions, Message
from nsqkit.nsq.message import one_by_one
from tests.waiting import PATIENCE_S


async def take(address: str, topic: str, count: int, channel: str = "reading") -> list[bytes]:
    """Return the bodies of the next messages of a channel, in the order of their arrival."""
    messages: asyncio.Queue[Message] = asyncio.Queue()
    connection = Connection(address, ConnectionOptions(), on_messages=one_by_one(messages.put_nowait))
    await connection.open()
    await connection.subscribe(topic, channel)
    connection.ready(count)
    bodies = []
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(count):
            message = await messages.get()
            assert message.finish()
            bodies.append(message.body)
    await connection.half_close(PATIENCE_S)
    return bodies


def topics_of(http_address: str) -> dict[str, dict[str, Any]]:
    """Return the statistics of every topic by its name, for code without a loop."""
    with urllib.request.urlopen(f"http://{http_address}/stats?format=json", timeout=PATIENCE_S) as answer:
        stats = json.load(answer)
    return {topic["topic_name"]: topic for topic in stats["topics"] or ()}


async def topics(http_address: str) -> dict[str, dict[str, Any]]:
    """Return the same for code on a loop that the broker shares."""
    return await asyncio.to_thread(topics_of, http_address)
