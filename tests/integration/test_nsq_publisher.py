"""Publishing to a real nsqd."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from nsqkit.errors import PublishError
from nsqkit.nsq import ConnectionOptions, NsqdHttp, NsqdPublisher, ensure_channel
from tests.integration.conftest import Server, StartNsqd
from tests.integration.swallowing_proxy import SwallowingProxy
from tests.unit.reading import take

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


LIMITS = ("-max-msg-size=1000", "-max-body-size=2000", "-max-req-timeout=1s")


@pytest.mark.parametrize("limits", [pytest.param((), id="usual"), pytest.param(LIMITS, id="low")])
async def test_publishes_that_nsqd_refuses_harm_none_of_their_neighbours(
    start_nsqd: StartNsqd, limits: tuple[str, ...]
) -> None:
    """Nsqd closes the connection at each refusal, and runs no command after it."""
    nsqd = await asyncio.to_thread(start_nsqd, *limits)
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    publishing = []
    for n in range(20):
        publishing.append(publisher.publish("orders", b"%d" % n))
        publishing.append(publisher.publish("large", b"x" * 1_048_577))
        publishing.append(publisher.publish("late", b"body", defer_s=3601.0))
    results = await asyncio.gather(*publishing, return_exceptions=True)
    await publisher.close()
    assert results[::3] == [None] * 20
    refused = [each for n, each in enumerate(results) if n % 3]
    assert all(isinstance(each, PublishError) and each.permanent for each in refused)
    assert (await _topic(nsqd, "orders"))["message_count"] == 20


@pytest.mark.parametrize("limits", [pytest.param((), id="usual"), pytest.param(LIMITS, id="low")])
async def test_many_that_nsqd_does_not_take_in_one_command_arrive_once_in_their_order(
    start_nsqd: StartNsqd, limits: tuple[str, ...]
) -> None:
    nsqd = await asyncio.to_thread(start_nsqd, *limits)
    bodies = [b"%d" % n * 100 for n in range(30)] if limits else [b"%07d" % n * 100_000 for n in range(12)]
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    await publisher.publish_many("orders", bodies)
    await publisher.close()
    assert (await _topic(nsqd, "orders"))["message_count"] == len(bodies)
    assert await take(nsqd.tcp_address, "orders", len(bodies)) == bodies


async def test_where_nsqd_takes_more_than_usual_large_messages_arrive(start_nsqd: StartNsqd) -> None:
    nsqd = await asyncio.to_thread(start_nsqd, "-max-msg-size=8000000")
    publisher = NsqdPublisher(nsqd.tcp_address, OPTIONS)
    await asyncio.gather(*(publisher.publish("orders", b"x" * 2_000_000) for _ in range(5)))
    await publisher.close()
    assert (await _topic(nsqd, "orders"))["message_count"] == 5


async def test_a_connection_that_is_dropped_silently_costs_one_time_limit(nsqd: Server) -> None:
    """Consumers notice the silence by heartbeats; a publish must not wait for those."""
    async with SwallowingProxy(nsqd.tcp_address) as proxy:
        publisher = NsqdPublisher(proxy.address, OPTIONS, publish_timeout_s=0.5)
        await publisher.publish("orders", b"1")
        proxy.swallow()
        lost = await asyncio.gather(
            *(publisher.publish("orders", b"lost") for _ in range(45)), return_exceptions=True
        )
        assert all(isinstance(each, PublishError) and not each.permanent for each in lost)
        await publisher.publish("orders", b"2")
        await publisher.close()
    assert await take(nsqd.tcp_address, "orders", 2) == [b"1", b"2"]


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
