"""Publishing to a real nsqd."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit.errors import PublishError
from nsqkit.nsq import ConnectionOptions, NsqdHttp, NsqdPublisher, ensure_channel
from tests.integration.conftest import Server

pytestmark = pytest.mark.nsqd
OPTIONS = ConnectionOptions()


@pytest.fixture
async def publisher(nsqd: Server) -> AsyncIterator[NsqdPublisher]:
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    yield publisher
    await publisher.close()


async def _topic(nsqd: Server, topic: str) -> dict[str, Any]:
    stats: Any = await NsqdHttp(nsqd.http_address).stats(topic)
    found: dict[str, Any] = stats["topics"][0]
    return found


async def test_what_is_confirmed_is_in_nsqd(nsqd: Server, publisher: NsqdPublisher) -> None:
    await publisher.publish("orders", b"1")
    await publisher.publish("orders", b"2", defer_s=3600.0)
    await publisher.publish_many("orders", [b"3", b"4", b"5"])
    await asyncio.gather(*(publisher.publish("orders", b"%d" % n) for n in range(500)))
    assert (await _topic(nsqd, "orders"))["message_count"] == 505


async def test_a_made_channel_stays_and_takes_what_is_published(
    nsqd: Server, publisher: NsqdPublisher
) -> None:
    await ensure_channel(nsqd.tcp_address, "orders.stock.dead", "keep", OPTIONS)
    await ensure_channel(nsqd.tcp_address, "orders.stock.dead", "keep", OPTIONS)
    await publisher.publish("orders.stock.dead", b"body")
    (channel,) = (await _topic(nsqd, "orders.stock.dead"))["channels"]
    assert (channel["channel_name"], channel["depth"], channel["message_count"]) == ("keep", 1, 1)


@pytest.mark.parametrize("size_bytes", [1_048_577, 3_000_000, 20_000_000])
async def test_a_body_over_nsqds_limit_is_permanent_and_the_next_publish_works(
    nsqd: Server, publisher: NsqdPublisher, size_bytes: int
) -> None:
    with pytest.raises(PublishError) as caught:
        await publisher.publish("orders", b"x" * size_bytes)
    assert caught.value.permanent
    assert "too big" in caught.value.reason
    await publisher.publish("orders", b"small")
    assert (await _topic(nsqd, "orders"))["message_count"] == 1


@pytest.mark.parametrize("body", [b""])
async def test_an_empty_body_does_not_disturb_the_publishes_beside_it(
    nsqd: Server, publisher: NsqdPublisher, body: bytes
) -> None:
    results = await asyncio.gather(
        publisher.publish("orders", b"1"),
        publisher.publish("orders", body),
        publisher.publish("orders", b"2"),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), PublishError, type(None)]
    assert (await _topic(nsqd, "orders"))["message_count"] == 2


async def test_a_delay_over_nsqds_limit_is_permanent(publisher: NsqdPublisher) -> None:
    with pytest.raises(PublishError, match="E_INVALID") as caught:
        await publisher.publish("orders", b"body", defer_s=7200.0)
    assert caught.value.permanent


async def test_after_a_restart_of_nsqd_the_next_publish_works(nsqd: Server, publisher: NsqdPublisher) -> None:
    await publisher.publish("orders", b"1")
    nsqd.stop()
    with pytest.raises(PublishError) as caught:
        await publisher.publish("orders", b"2")
    assert not caught.value.permanent
    nsqd.start()
    await publisher.publish("orders", b"3")
    assert (await _topic(nsqd, "orders"))["depth"] == 2
