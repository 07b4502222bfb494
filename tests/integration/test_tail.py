"""Tail on real nsqd: it gets copies, and never what waits for somebody else."""

import asyncio
from functools import partial

import pytest

from nsqkit import Settings, SettingsError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.message import Message
from nsqkit.nsq.publisher_pool import PublisherPool
from nsqkit.ops.tail import Tail
from tests.integration.conftest import Server, StartNsqd
from tests.unit.reading import take
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd


async def channels(server: Server) -> dict[str, object]:
    topics = (await NsqdHttp(server.http_address).stats("orders"))["topics"] or ()
    return {each["channel_name"]: each for topic in topics for each in topic["channels"]}  # type: ignore[attr-defined]


async def test_all_nsqd_that_nsqlookupd_knows_are_followed_and_nobody_misses_a_message(
    nsqlookupd: Server, start_nsqd: StartNsqd
) -> None:
    servers = [start_nsqd(), start_nsqd()]
    publishers = PublisherPool(ConnectionOptions())
    for server in servers:
        await publishers.ensure_channel(server.tcp_address, "orders", "work")
        await publishers.publish(server.tcp_address, "orders", b"before")
    shown: list[Message] = []

    def show(message: Message) -> bool:
        shown.append(message)
        return len(shown) < len(servers)

    settings = Settings(lookupd=(nsqlookupd.http_address,), lookupd_poll_s=0.1)
    async with asyncio.timeout(PATIENCE_S):
        running = asyncio.create_task(Tail("orders", settings).run(show))
        for server in servers:
            await until(partial(channels, server), lambda found: len(found) == 2)
            await publishers.publish(server.tcp_address, "orders", b"after")
        await running
        assert sorted(each.address for each in shown) == sorted(each.tcp_address for each in servers)
        for server in servers:
            assert sorted(await take(server.tcp_address, "orders", 2, "work")) == [b"after", b"before"]
            await until(partial(channels, server), lambda found: list(found) == ["work"])
    await publishers.close()


async def test_the_backlog_of_a_topic_without_a_channel_stays(nsqd: Server) -> None:
    publishers = PublisherPool(ConnectionOptions())
    await publishers.publish(nsqd.tcp_address, "orders", b"waits")
    await publishers.close()
    settings = Settings(nsqd=(nsqd.tcp_address,), nsqd_http=(nsqd.http_address,))
    with pytest.raises(SettingsError, match="no durable channel"):
        await Tail("orders", settings).run(lambda _: True)
    assert await take(nsqd.tcp_address, "orders", 1) == [b"waits"]
