"""Publishing together to a real nsqd: as many arrive as were confirmed, and in their order."""

import asyncio
from typing import Any

import pytest

from nsqkit import Publisher, PublishError, Settings
from nsqkit.nsq import NsqdHttp
from tests.integration.conftest import Server, StartNsqd
from tests.unit.reading import take

pytestmark = pytest.mark.nsqd


async def _message_count(nsqd: Server, topic: str) -> int:
    stats: Any = await NsqdHttp(nsqd.http_address).stats(topic)
    return int(stats["topics"][0]["message_count"])


async def test_all_that_are_confirmed_together_arrive_once_in_their_order(nsqd: Server) -> None:
    bodies = [b"%d" % n for n in range(3000)]
    async with Publisher(nsqd.tcp_address, settings=Settings()) as publisher:
        await asyncio.gather(*(publisher.publish_raw("orders", body) for body in bodies))
    assert await _message_count(nsqd, "orders") == len(bodies)
    assert await take(nsqd.tcp_address, "orders", len(bodies)) == bodies


async def test_where_nsqd_takes_less_at_a_time_all_arrive_all_the_same(start_nsqd: StartNsqd) -> None:
    nsqd = await asyncio.to_thread(start_nsqd, "-max-msg-size=1000", "-max-body-size=1024")
    bodies = [b"%d" % n * 200 for n in range(20)]
    async with Publisher(nsqd.tcp_address, settings=Settings()) as publisher:
        await asyncio.gather(*(publisher.publish_raw("orders", body) for body in bodies))
    assert await _message_count(nsqd, "orders") == len(bodies)
    assert await take(nsqd.tcp_address, "orders", len(bodies)) == bodies


async def test_where_nsqd_takes_less_in_a_message_only_the_large_one_is_refused_for_good(
    start_nsqd: StartNsqd,
) -> None:
    """Its lower limit is not known beforehand, so the refusal ends the connection that the others use."""
    nsqd = await asyncio.to_thread(start_nsqd, "-max-msg-size=1000")
    bodies = [b"1", b"2", b"x" * 1001, b"3"]
    async with Publisher(nsqd.tcp_address, settings=Settings()) as publisher:
        publishing = (publisher.publish_raw("orders", body) for body in bodies)
        first, second, large, beside = await asyncio.gather(*publishing, return_exceptions=True)
        assert (first, second) == (None, None)
        assert isinstance(large, PublishError)
        assert large.permanent
        assert beside is None
    assert await take(nsqd.tcp_address, "orders", 3) == [b"1", b"2", b"3"]


def test_in_a_second_event_loop_publishes_are_confirmed_too(nsqd: Server) -> None:
    publisher = Publisher(nsqd.tcp_address, settings=Settings())
    for body in (b"first", b"second"):
        asyncio.run(publisher.publish_raw("orders", body))
    asyncio.run(publisher.close())
    assert asyncio.run(take(nsqd.tcp_address, "orders", 2)) == [b"first", b"second"]
