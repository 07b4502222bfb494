"""Compression with a real nsqd: long bodies, cut anywhere on the way."""

import asyncio
import random

import pytest

from nsqkit.nsq import Connection, ConnectionOptions, Message, NsqdPublisher, ensure_channel
from nsqkit.nsq.message import one_by_one
from nsqkit.nsq.options import connection_options
from nsqkit.settings.settings import Settings
from tests.integration.conftest import Server, StartNsqd
from tests.integration.tap import Tap
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.nsqd
MIB = 1_048_576
INCOMPRESSIBLE = random.Random(5).randbytes(MIB)
COMPRESSIBLE = b"order " * (MIB // 6)
BOTH = pytest.mark.parametrize("compression", ["deflate", "snappy"])


def _options(compression: str) -> ConnectionOptions:
    return connection_options(Settings(compression=compression))


class Reader:
    def __init__(self, address: str, options: ConnectionOptions) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.connection = Connection(address, options, on_messages=one_by_one(self.messages.put_nowait))

    async def start(self) -> None:
        await self.connection.open()
        await self.connection.subscribe("orders", "stock")
        self.connection.ready(100)

    async def bodies(self, count: int) -> list[bytes]:
        async with asyncio.timeout(PATIENCE_S):
            came = [await self.messages.get() for _ in range(count)]
        assert all(message.finish() for message in came)
        return [message.body for message in came]


async def _round_trip(address: str, options: ConnectionOptions, bodies: list[bytes]) -> None:
    await ensure_channel(address, "orders", "stock", options)
    publisher = NsqdPublisher(address, options, publish_timeout_s=PATIENCE_S)
    for body in bodies:
        await publisher.publish("orders", body)
    await publisher.publish_many("orders", bodies)
    reader = Reader(address, options)
    await reader.start()
    assert sorted(await reader.bodies(2 * len(bodies))) == sorted(2 * bodies)
    await reader.connection.half_close(PATIENCE_S)
    assert "closed by the other side" in str(reader.connection.error)
    await publisher.close()


@BOTH
async def test_long_bodies_arrive_whole(nsqd: Server, compression: str) -> None:
    await _round_trip(
        nsqd.tcp_address, _options(compression), [b"1", INCOMPRESSIBLE, COMPRESSIBLE, b"2" * 300_000]
    )


@BOTH
@pytest.mark.parametrize("piece_bytes", [997, 20_011])
async def test_long_bodies_cut_anywhere_arrive_whole(
    nsqd: Server, compression: str, piece_bytes: int
) -> None:
    """Pynsq's wrappers take a piece that completes nothing for an error, and close."""
    async with Tap(nsqd.tcp_address, piece_bytes) as tap:
        await _round_trip(tap.address, _options(compression), [b"1", INCOMPRESSIBLE, COMPRESSIBLE])


@BOTH
async def test_messages_that_come_byte_by_byte_arrive_whole(nsqd: Server, compression: str) -> None:
    async with Tap(nsqd.tcp_address, 1) as tap:
        await _round_trip(
            tap.address, _options(compression), [b"1", INCOMPRESSIBLE[:3000], COMPRESSIBLE[:3000]]
        )


@BOTH
async def test_what_can_be_compressed_is_short_on_the_wire(nsqd: Server, compression: str) -> None:
    async with Tap(nsqd.tcp_address) as tap:
        publisher = NsqdPublisher(tap.address, _options(compression))
        await publisher.publish("orders", COMPRESSIBLE)
        await publisher.close()
        assert len(tap.sent) < MIB / 10


@BOTH
async def test_an_nsqd_that_grants_no_compression_is_used_without(
    start_nsqd: StartNsqd, compression: str
) -> None:
    plain = start_nsqd("-deflate=false", "-snappy=false")
    await _round_trip(plain.tcp_address, _options(compression), [b"1", COMPRESSIBLE])
