"""Dead letters: reads them from nsqd into a ledger, over the bare protocol and without nsqkit."""

import asyncio
import json
import struct
from collections.abc import Iterator
from typing import Any

from tests.chaos.cluster import Node
from tests.chaos.ledger import Ledger
from tests.waiting import PATIENCE_S

_CHANNEL = "dead"
_HEADER = struct.Struct(">ii")
_ERROR, _MESSAGE = 1, 2
_BODY_AT = 8 + 2 + 16  # behind timestamp, attempts and id
_AT_ONCE = 100


async def collect(node: Node, ledger: Ledger) -> None:
    """Write ``id reason`` of every dead letter on one nsqd, and finish it there. No worker may run.

    Raises:
        TimeoutError: If they do not all come.
        ValueError: If nsqd refuses something.
    """
    for topic, count in _waiting(await node.topics()):
        async with asyncio.timeout(PATIENCE_S + count / 1000):
            for body in await _read(node.direct_address, topic, count):
                ledger.write(" ".join(_named(body)))
    ledger.sync()


def _waiting(topics: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    for topic in topics:
        if topic["topic_name"].endswith(".dead"):
            for channel in topic["channels"]:
                yield topic["topic_name"], topic["depth"] + channel["depth"] + channel["in_flight_count"]


async def _read(address: str, topic: str, count: int) -> list[bytes]:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"  V2SUB {topic} {_CHANNEL}\nRDY {_AT_ONCE}\n".encode())
        bodies: list[bytes] = []
        while len(bodies) < count:
            size, kind = _HEADER.unpack(await reader.readexactly(_HEADER.size))
            data = await reader.readexactly(size - 4)
            if kind == _ERROR:
                raise ValueError(f"nsqd said {data!r}")
            if kind == _MESSAGE:
                bodies.append(data[_BODY_AT:])
                writer.write(b"FIN " + data[_BODY_AT - 16 : _BODY_AT] + b"\n")
                await writer.drain()
        return bodies
    finally:
        writer.close()
        await writer.wait_closed()


def _named(body: bytes) -> tuple[str, str]:
    """Return the order's id and the reason of one dead letter."""
    record = json.loads(body)
    return json.loads(record["body"])["data"]["order_id"], record["reason"]
