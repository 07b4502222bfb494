"""Lifeline: a connection that ends when the process at its other end does."""

import asyncio

import pytest

from nsqkit.devbroker import DevLookupd
from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.lifeline import Lifeline
from tests.unit.nsq.fake_http import FakeHttp
from tests.waiting import PATIENCE_S


async def test_it_is_answered_until_the_server_ends() -> None:
    lookupd = DevLookupd(0, 0)
    await lookupd.start()
    async with Lifeline(lookupd.http_address, PATIENCE_S) as lifeline:
        assert await lifeline.ping()
        assert await lifeline.ping()
        await lookupd.stop()
        async with asyncio.timeout(PATIENCE_S):
            await lifeline.ended.wait()
        assert not await lifeline.ping()


async def test_a_server_that_does_not_answer_has_ended() -> None:
    async with FakeHttp(b"") as server, Lifeline(server.address, 0.01) as lifeline:
        assert not await lifeline.ping()


async def test_a_server_that_closes_after_its_answer_has_ended() -> None:
    async with (
        FakeHttp((200, b"OK")) as server,
        Lifeline(server.address, PATIENCE_S) as lifeline,
        asyncio.timeout(PATIENCE_S),
    ):
        await lifeline.ping()
        await lifeline.ended.wait()
        assert not await lifeline.ping()


async def test_what_cannot_be_reached_is_an_error() -> None:
    with pytest.raises(ConnectionLostError, match="Connection refused"):
        await Lifeline("127.0.0.1:1", PATIENCE_S).__aenter__()
