"""The proxy forwards all that both sides say, in order, until it cuts them."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from tests.chaos.proxy import Proxy
from tests.ports import free_port
from tests.waiting import turns

DRAWS = random.Random(1)
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends everything back, and then its own end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                writer.write(data)
            writer.write(b"end")
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", free_port())
    yield server.sockets[0].getsockname()[1]
    server.close()


@asynccontextmanager
async def through(target: int) -> AsyncIterator[tuple[Proxy, Streams]]:
    proxy = Proxy(free_port(), target)
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield proxy, (reader, writer)
    finally:
        writer.transport.abort()
        await proxy.close()


async def test_both_directions_arrive_whole_and_in_order(echo: int) -> None:
    said = random.Random(2).randbytes(300_000)
    async with through(echo) as (_, (reader, writer)):
        writer.write(said)
        assert await reader.readexactly(len(said)) == said


async def test_what_is_said_after_a_half_close_still_arrives(echo: int) -> None:
    """A worker that drains closes its side, and reads what nsqd has to say to the end."""
    async with through(echo) as (_, (reader, writer)):
        writer.write(b"hello ")
        writer.write_eof()
        assert await reader.read() == b"hello end"


async def test_a_cut_ends_the_connection_and_not_the_proxy(echo: int) -> None:
    async with through(echo) as (proxy, (reader, writer)):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert proxy.cut_one(DRAWS)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        answers, asking = await asyncio.open_connection("127.0.0.1", proxy.port)
        asking.write(b"hello")
        assert await answers.readexactly(5) == b"hello"
        asking.transport.abort()


async def test_without_a_connection_there_is_nothing_to_cut() -> None:
    assert not Proxy(free_port(), free_port()).cut_one(DRAWS)


async def test_where_the_server_is_down_a_connection_ends_at_once() -> None:
    async with through(free_port()) as (_, (reader, _writer)):
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_subscriber_is_cut_right_after_its_sub_and_nobody_else(echo: int) -> None:
    async with through(echo) as (proxy, (reader, writer)):
        proxy.cuts_subscribers = True
        writer.write(b"PUB MYSUB \n")
        assert await reader.readexactly(11) == b"PUB MYSUB \n"
        writer.write(b"SUB orders chaos\n")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_silent_connection_swallows_all_until_it_is_cut_and_new_ones_work(echo: int) -> None:
    async with through(echo) as (proxy, (reader, writer)):
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        is_cut = asyncio.Event()
        silence = asyncio.create_task(proxy.silence(is_cut))
        await turns()
        writer.write(b"swallowed")
        answers, asking = await asyncio.open_connection("127.0.0.1", proxy.port)
        asking.write(b"new")
        assert await answers.readexactly(3) == b"new"
        asking.transport.abort()
        is_cut.set()
        await silence
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
