"""Spoiled conversations, to the embedded broker and to the real servers: the replies must be the same.

Left out: what comes after a reset, which loses replies; message frames, whose ids differ; numbers that
overflow in nsqd; and an IDENTIFY with a negative or very large size, of which the real nsqlookupd dies.
"""

import asyncio
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.devbroker.limits import Limits
from tests.fuzz.checks import MESSAGE, frames
from tests.fuzz.seeds import COMMANDS, LOOKUPS, Spoiler
from tests.integration.conftest import Server, StartNsqd

pytestmark = pytest.mark.nsqd

INPUTS = 1000
WITHIN_S = 60.0
_DEADLY = re.compile(rb"IDENTIFY[^\n]*\n[^\0]")
_OVERFLOWS = b"9" * 30
_SETTLED = re.compile(rb"(E_(?:FIN|REQ|TOUCH)_FAILED .* failed) .*")


async def say(address: str, data: bytes) -> bytes | None:
    """Return all that is answered to some bytes and a half close, or None if the connection was reset."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(WITHIN_S):
            writer.write(data)
            await writer.drain()
            writer.write_eof()
            return await reader.read()
    except OSError:
        return None
    finally:
        writer.close()


def replies(data: bytes) -> Any:
    """Return the frames that do not differ between any two nsqd."""
    found = []
    for kind, content in frames(data):
        reply: Any = _SETTLED.sub(rb"\1", content)  # a counted id is easily guessed, nsqd's is not
        if content.startswith(b"{"):
            reply = {**json.loads(content), "version": "", "snappy": "", "deflate": "", "deflate_level": ""}
        if kind != MESSAGE:
            found.append((kind, reply))
    return found


def lookup_replies(data: bytes) -> Any:
    """Return the replies, without what IDENTIFY tells of each nsqlookupd."""
    return re.sub(rb"....\{.*?\}", b"INFO", data, flags=re.DOTALL)


async def compare(
    ours: str, theirs: str, inputs: list[bytes], seen: Callable[[bytes], Any], least: float
) -> None:
    """Compare the answers to each input; at least so many of all must have been answered."""
    compared = 0
    for data in inputs:
        mine, real = await asyncio.gather(say(ours, data), say(theirs, data))
        if real is not None:
            assert mine is not None, data[:1000]
            assert seen(mine) == seen(real), data[:1000]
            compared += 1
    assert compared > least * len(inputs)


async def test_nsqd(start_nsqd: StartNsqd) -> None:
    broker = DevBroker(0, 0, limits=Limits(max_msg_bytes=1024, max_body_bytes=8192))
    await broker.start()
    nsqd = await asyncio.to_thread(start_nsqd, "-max-msg-size=1024", "-max-body-size=8192")
    spoiler = Spoiler(random.Random(3))
    inputs = [data for _ in range(INPUTS) if _OVERFLOWS not in (data := spoiler.one_of(COMMANDS))]
    await compare(broker.tcp_address, nsqd.tcp_address, inputs, replies, 0.6)
    await broker.stop()


async def test_nsqlookupd(nsqlookupd: Server) -> None:
    lookupd = DevLookupd(0, 0)
    await lookupd.start()
    spoiler = Spoiler(random.Random(3))
    inputs = [data for _ in range(INPUTS) if not _DEADLY.search(data := spoiler.one_of(LOOKUPS))]
    await compare(lookupd.tcp_address, nsqlookupd.tcp_address, inputs, lookup_replies, 0.6)
    await lookupd.stop()
