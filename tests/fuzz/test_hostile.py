"""Malformed and hostile inputs over TCP and HTTP: documented errors only, no crash, no hang, memory flat.

NSQKIT_HOSTILE_INPUTS says how many (100000 for the full run, some 40 s), NSQKIT_HOSTILE_SEED which;
``-o log_cli=true --log-cli-level=INFO`` shows how they ended.
"""

import asyncio
import contextlib
import gc
import logging
import os
import random
import socket
import struct
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from nsqkit.devbroker import DevBroker, DevLookupd
from nsqkit.devbroker.limits import Limits
from tests.fuzz.checks import check_frames, check_http, check_lookup_replies
from tests.fuzz.seeds import COMMANDS, LOOKUP_REQUESTS, LOOKUPS, REQUESTS, Spoiler
from tests.unit.devbroker.raw_client import RESPONSE, RawClient, http, pub
from tests.waiting import turns

INPUTS = int(os.environ.get("NSQKIT_HOSTILE_INPUTS", "3000"))
SEED = int(os.environ.get("NSQKIT_HOSTILE_SEED", "1"))
AT_ONCE = 40
HELD = 100
HANG_S = 20.0
SHOWN_BYTES = 1000
MAX_BLOCKS_GROWN = 40_000
_log = logging.getLogger(__name__)
_RESET = struct.pack("ii", 1, 0)

Target = tuple[str, tuple[bytes, ...], Callable[[bytes], str]]


class Servers:
    """The embedded nsqd and nsqlookupd, and whatever they log as an error."""

    def __init__(self) -> None:
        self.lookupd = DevLookupd(0, 0)
        self.broker = DevBroker(0, 0, limits=Limits(max_msg_bytes=1024, max_body_bytes=8192))
        self.errors: list[str] = []

    def targets(self) -> tuple[list[Target], list[int]]:
        """Return what to attack, and how much of each of 100 inputs it gets."""
        return [
            (self.broker.tcp_address, COMMANDS, check_frames),
            (self.lookupd.tcp_address, LOOKUPS, check_lookup_replies),
            (self.broker.http_address, REQUESTS, check_http),
            (self.lookupd.http_address, LOOKUP_REQUESTS, check_http),
        ], [60, 15, 20, 5]

    def forget(self) -> None:
        """Empty both, so that what they rightly keep does not count as a leak."""
        ledger, registry = self.broker.ledger, self.lookupd.registry
        for name in tuple(ledger.topics):
            self.broker._tcp.disconnect(ledger.delete_topic(name))
        for category, names in (("topic", ("*",)), ("channel", ("*", "*"))):
            for each in registry.find(category, *names):
                registry.drop(each)


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    servers = Servers()
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: servers.errors.append(record.getMessage())  # type: ignore[method-assign]
    root, noisy = logging.getLogger(), logging.getLogger("tornado.general")
    root.addHandler(handler)
    noisy.disabled = True  # a line for each malformed request
    await servers.lookupd.start()
    await servers.broker.start()
    yield servers
    await servers.broker.stop()
    await servers.lookupd.stop()
    noisy.disabled = False
    root.removeHandler(handler)


class Attack:
    """Connections that say spoiled things, some of them slowly, and some that never hang up."""

    def __init__(self, draw: random.Random) -> None:
        self.ends: Counter[str] = Counter()
        self._draw = draw
        self._spoiler = Spoiler(draw)
        self._held: list[socket.socket] = []

    async def run(self, count: int, servers: Servers) -> None:
        """Send *count* inputs, several at once."""
        targets, weights = servers.targets()
        chosen = iter(self._draw.choices(targets, weights, k=count))

        async def attack() -> None:
            for target in chosen:
                async with asyncio.timeout(HANG_S):
                    await self._one(*target)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(attack())

    def hang_up(self) -> None:
        """Close what was left open."""
        while self._held:
            self._held.pop().close()

    async def _one(self, address: str, seeds: tuple[bytes, ...], check: Callable[[bytes], str]) -> None:
        loop = asyncio.get_running_loop()
        host, _, port = address.rpartition(":")
        data = self._spoiler.one_of(seeds)
        manner = self._draw.randrange(100)
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            await loop.sock_connect(client, (host, int(port)))
            with contextlib.suppress(ConnectionError):
                await self._say(client, data, is_slow=manner < 5)
            if manner >= 98 and len(self._held) < HELD:
                self._held.append(client)  # half open: neither closed nor read from
                stack.pop_all()
                self.ends["left open"] += 1
                return
            if manner >= 95:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self.ends["reset"] += 1
                return
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
            answer = await _read_all(client)
            try:
                self.ends[check(answer) or "no error"] += 1
            except (AssertionError, ValueError) as error:
                error.add_note(f"the input was {data[:SHOWN_BYTES]!r}, {len(data)} bytes")
                raise

    async def _say(self, client: socket.socket, data: bytes, *, is_slow: bool) -> None:
        loop = asyncio.get_running_loop()
        size = 1 if is_slow else max(1, self._draw.choice((len(data), len(data), len(data) // 2)))
        end = min(len(data), 300) if is_slow else len(data)
        for at in range(0, end, size):
            await loop.sock_sendall(client, data[at : min(end, at + size)])
            if is_slow:
                await turns()


async def _read_all(client: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    with contextlib.suppress(ConnectionError):
        while chunk := await loop.sock_recv(client, 65_536):
            data += chunk
    return data


async def _works(servers: Servers) -> None:
    """Check that a client who behaves is served."""
    client = await RawClient.connect(servers.broker.tcp_address)
    await client.subscribe("healthy", "c", ready=1)
    assert await client.ask(pub("healthy", b"x")) == (RESPONSE, b"OK")
    message = await client.message()
    client.send(b"FIN " + message.id + b"\n")
    assert await client.ask(b"CLS\n") == (RESPONSE, b"CLOSE_WAIT")
    await client.close()
    for address in (servers.broker.http_address, servers.lookupd.http_address):
        assert await http(address, "GET", "/ping") == (200, b"OK")


async def _all_gone(servers: Servers) -> None:
    async with asyncio.timeout(HANG_S):
        await asyncio.gather(
            *(connection.closed for connection in servers.broker._tcp.connections),
            *(connection.closed for connection in servers.lookupd.connections),
        )


async def test_nothing_that_is_sent_harms_the_broker(servers: Servers) -> None:
    attack = Attack(random.Random(SEED))
    rounds = 10
    blocks: list[int] = []
    for _ in range(rounds):
        await attack.run(INPUTS // rounds, servers)
        await _works(servers)
        attack.hang_up()
        await _all_gone(servers)
        servers.forget()
        gc.collect()
        blocks.append(sys.getallocatedblocks())
    _log.info("%s inputs ended so: %s", sum(attack.ends.values()), dict(attack.ends.most_common()))
    _log.info("allocated blocks after each tenth: %s", blocks)
    assert sum(attack.ends.values()) == INPUTS // rounds * rounds
    assert not servers.errors
    assert blocks[-1] - blocks[1] < MAX_BLOCKS_GROWN, blocks
