"""The publishing side of one process: one connection per nsqd, each channel made once."""

import asyncio
import struct
from collections.abc import AsyncIterator

import pytest

from nsqkit.errors import PublishError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher_pool import PublisherPool
from tests.unit.nsq.fake_http import FakeHttp
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer
from tests.waiting import until

BODY = struct.pack(">i", 4) + b"body"


@pytest.fixture
async def publishers() -> AsyncIterator[PublisherPool]:
    publishers = PublisherPool(ConnectionOptions(), publish_timeout_s=5.0)
    yield publishers
    await publishers.close()


async def _accept(nsqd: FakeNsqd) -> Peer:
    peer = await nsqd.accept()
    await peer.shake_hands()
    return peer


async def test_every_nsqd_has_one_connection_for_all_that_goes_to_it(
    publishers: PublisherPool, nsqd: FakeNsqd
) -> None:
    async with FakeNsqd() as other:
        peers: dict[FakeNsqd, Peer] = {}
        for fake in (nsqd, other, nsqd, other):
            publishing = asyncio.create_task(publishers.publish(fake.address, "orders", b"body"))
            if fake not in peers:
                peers[fake] = await _accept(fake)
            await peers[fake].expect(b"PUB orders\n" + BODY)
            peers[fake].respond()
            await publishing
        assert nsqd.is_idle
        assert other.is_idle
        await publishers.close()
        for peer in peers.values():
            await peer.expect_end()


async def test_many_and_deferred_go_to_the_nsqd_that_is_named(
    publishers: PublisherPool, nsqd: FakeNsqd
) -> None:
    publishing = asyncio.create_task(publishers.publish_many(nsqd.address, "orders", [b"body"]))
    peer = await _accept(nsqd)
    assert (await peer.command()).startswith(b"MPUB orders\n")
    peer.respond()
    await publishing
    publishing = asyncio.create_task(publishers.publish(nsqd.address, "orders", b"body", defer_s=1.5))
    await peer.expect(b"DPUB orders 1500\n" + BODY)
    peer.respond()
    await publishing


async def test_a_channel_is_made_once(publishers: PublisherPool, nsqd: FakeNsqd) -> None:
    wanted = [publishers.ensure_channel(nsqd.address, "orders", "stock") for _ in range(3)]
    making = asyncio.gather(*wanted)
    peer = await _accept(nsqd)
    await peer.expect(b"SUB orders stock\n")
    peer.respond()
    await making
    await publishers.ensure_channel(nsqd.address, "orders", "stock")
    assert nsqd.is_idle


@pytest.mark.parametrize(
    ("frame", "is_permanent"),
    [
        pytest.param(b"E_UNAUTHORIZED AUTH failed for SUB", True, id="not allowed"),
        pytest.param(b"E_SUB_FAILED SUB failed", False, id="failed"),
    ],
)
async def test_a_channel_that_is_refused_is_a_publish_error(
    publishers: PublisherPool, nsqd: FakeNsqd, frame: bytes, *, is_permanent: bool
) -> None:
    making = asyncio.create_task(publishers.ensure_channel(nsqd.address, "orders", "stock"))
    peer = await _accept(nsqd)
    await peer.command()
    peer.refuse(frame)
    with pytest.raises(PublishError) as caught:
        await making
    assert caught.value.permanent is is_permanent


async def test_a_channel_on_an_nsqd_that_is_not_there_is_a_publish_error(publishers: PublisherPool) -> None:
    with pytest.raises(PublishError, match="Connection refused") as caught:
        await publishers.ensure_channel("127.0.0.1:1", "orders", "stock")
    assert not caught.value.permanent


async def _ensured(publishers: PublisherPool, nsqd: FakeNsqd) -> None:
    """Create a channel, which must not be known yet."""
    making = asyncio.create_task(publishers.ensure_channel(nsqd.address, "orders", "stock"))
    peer = await _accept(nsqd)
    await peer.expect(b"SUB orders stock\n")
    peer.respond()
    await making


async def _published(publishers: PublisherPool, nsqd: FakeNsqd) -> Peer:
    """Publish on a new connection."""
    publishing = asyncio.create_task(publishers.publish(nsqd.address, "orders", b"body"))
    peer = await _accept(nsqd)
    await peer.expect(b"PUB orders\n" + BODY)
    peer.respond()
    await publishing
    return peer


async def test_a_channel_is_known_while_the_connection_lasts(
    publishers: PublisherPool, nsqd: FakeNsqd
) -> None:
    """Nsqd may have restarted without its data."""
    await _ensured(publishers, nsqd)
    for _ in range(2):
        peer = await _published(publishers, nsqd)
        await publishers.ensure_channel(nsqd.address, "orders", "stock")
        assert nsqd.is_idle
        await peer.close()
        await until(lambda: not publishers._publishers[nsqd.address].is_connected)
        await _ensured(publishers, nsqd)


async def test_a_channel_with_all_consumers_that_nsqd_allows_exists(
    publishers: PublisherPool, nsqd: FakeNsqd
) -> None:
    making = asyncio.create_task(publishers.ensure_channel(nsqd.address, "orders", "stock"))
    peer = await _accept(nsqd)
    await peer.command()
    peer.refuse(b"E_SUB_FAILED SUB failed consumers for orders:stock exceeds limit of 1")
    await making


class TestMaxMsgBytes:
    """The limit of each nsqd, asked once for each connection."""

    async def test_it_is_asked_again_after_the_connection_has_ended(self, nsqd: FakeNsqd) -> None:
        async with FakeHttp((200, b"8000000")) as server:
            publishers = PublisherPool(ConnectionOptions(), http_of={nsqd.address: server.address}.get)
            assert await publishers.max_msg_bytes(nsqd.address) == 8_000_000
            peer = await _published(publishers, nsqd)
            assert await publishers.max_msg_bytes(nsqd.address) == 8_000_000
            assert len(server.requests) == 1
            await peer.close()
            await until(lambda: not publishers._publishers[nsqd.address].is_connected)
            await publishers.max_msg_bytes(nsqd.address)
            assert len(server.requests) == 2
        await publishers.close()

    async def test_it_is_not_known_without_an_http_address(self, publishers: PublisherPool) -> None:
        assert await publishers.max_msg_bytes("127.0.0.1:1") is None

    async def test_it_is_not_known_once_the_pool_is_closed(self) -> None:
        publishers = PublisherPool(ConnectionOptions(), http_of=lambda _: "127.0.0.1:1")
        await publishers.close()
        assert await publishers.max_msg_bytes("127.0.0.1:1") is None

    async def test_it_is_not_known_if_nothing_answers_there(self) -> None:
        publishers = PublisherPool(ConnectionOptions(), http_of=lambda _: "127.0.0.1:1")
        assert await publishers.max_msg_bytes("127.0.0.1:1") is None
        await publishers.close()
