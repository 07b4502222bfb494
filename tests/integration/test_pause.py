"""`nsqkit pause` and `resume` on real nsqd that nsqlookupd knows."""

import asyncio
from typing import Any

import pytest

from nsqkit import Settings
from nsqkit.nsq import NsqdHttp
from nsqkit.ops.pause import ChannelReport, send_to_nsqd
from tests.integration.conftest import Server, StartNsqd
from tests.waiting import PATIENCE_S, until

pytestmark = pytest.mark.nsqd


async def _paused(nsqd: Server) -> bool:
    stats: Any = await NsqdHttp(nsqd.http_address).stats("orders")
    paused: bool = stats["topics"][0]["channels"][0]["paused"]
    return paused


async def test_a_channel_is_paused_wherever_it_is_and_stays_so_over_a_restart(
    nsqlookupd: Server, start_nsqd: StartNsqd
) -> None:
    nsqd, empty = start_nsqd(), start_nsqd()
    await NsqdHttp(nsqd.http_address).create_channel("orders", "stock")
    settings = Settings(lookupd=(nsqlookupd.http_address,))

    async def until_both_are_known(command: Any) -> ChannelReport:
        return await until(
            lambda: asyncio.to_thread(send_to_nsqd, command, "orders", "stock", settings),
            lambda report: len(report.addresses) + len(report.without) == 2,
        )

    async with asyncio.timeout(PATIENCE_S):
        expected = ChannelReport((nsqd.http_address,), (empty.http_address,), ())
        assert await until_both_are_known("pause") == expected
        assert await _paused(nsqd)
        nsqd.stop()
        nsqd.start()
        assert await _paused(nsqd)
        await until_both_are_known("resume")
        assert not await _paused(nsqd)
