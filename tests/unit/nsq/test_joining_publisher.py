"""JoiningPublisher: publishes of one turn are one command for each nsqd and topic, and fail by themselves."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from nsqkit.errors import PublishError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.joining_publisher import JoiningPublisher
from nsqkit.nsq.publish_batcher import MAX_BYTES, MAX_MESSAGES
from nsqkit.nsq.publish_limits import Size
from nsqkit.nsq.publisher_pool import PublisherPool
from tests.unit.nsq.fake_nsqd import FakeNsqd, mpub, pub, sized


def count_of(command: bytes) -> int:
    """Return how many messages an MPUB has."""
    header = command.index(b"\n") + 5
    return int.from_bytes(command[header : header + 4], "big")


@pytest.fixture
async def pool() -> AsyncIterator[PublisherPool]:
    pool = PublisherPool(ConnectionOptions(), publish_timeout_s=5.0)
    yield pool
    await pool.close()


@pytest.fixture
def publisher(pool: PublisherPool) -> JoiningPublisher:
    return JoiningPublisher(pool)


class TestTogether:
    async def test_fifty_publishes_of_one_turn_are_one_command_with_one_answer(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher
    ) -> None:
        bodies = [b"%d" % n for n in range(50)]
        publishing = asyncio.gather(*(publisher.publish(nsqd.address, "orders", body) for body in bodies))
        peer = await nsqd.publisher()
        await peer.expect(mpub(*bodies))
        assert not publishing.done()
        peer.respond()
        await publishing

    async def test_one_alone_is_a_pub(self, nsqd: FakeNsqd, publisher: JoiningPublisher) -> None:
        publishing = asyncio.create_task(publisher.publish(nsqd.address, "orders", b"1"))
        peer = await nsqd.publisher()
        await peer.expect(pub(b"1"))
        peer.respond()
        await publishing

    async def test_every_nsqd_and_topic_has_a_command_of_its_own(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher
    ) -> None:
        async with FakeNsqd() as other:
            publishing = asyncio.gather(
                *(publisher.publish(nsqd.address, "orders", body) for body in [b"1", b"2"]),
                publisher.publish_many(nsqd.address, "bills", [b"3", b"4"]),
                *(publisher.publish(other.address, "orders", body) for body in [b"5", b"6"]),
            )
            peer, beside = await nsqd.publisher(), await other.publisher()
            await peer.expect(mpub(b"1", b"2"), mpub(b"3", b"4", topic=b"bills"))
            await beside.expect(mpub(b"5", b"6"))
            for each in (peer, peer, beside):
                each.respond()
            await publishing

    async def test_a_deferred_one_goes_alone(self, nsqd: FakeNsqd, publisher: JoiningPublisher) -> None:
        publishing = asyncio.gather(
            publisher.publish(nsqd.address, "orders", b"1"),
            publisher.publish(nsqd.address, "orders", b"later", defer_s=1.5),
            publisher.publish(nsqd.address, "orders", b"2"),
        )
        peer = await nsqd.publisher()
        commands = {await peer.command(), await peer.command()}
        assert commands == {b"DPUB orders 1500\n" + sized(b"later"), mpub(b"1", b"2")}
        for _ in commands:
            peer.respond()
        await publishing

    async def test_channels_are_made_by_the_pool(self, nsqd: FakeNsqd, publisher: JoiningPublisher) -> None:
        making = asyncio.create_task(publisher.ensure_channel(nsqd.address, "orders", "dead"))
        peer = await nsqd.publisher()
        await peer.expect(b"SUB orders dead\n")
        peer.respond()
        await making


class TestLimits:
    @pytest.mark.parametrize(
        ("bodies", "counts"),
        [
            pytest.param([b"x"] * (MAX_MESSAGES + 2), [MAX_MESSAGES, 2], id="messages"),
            pytest.param([b"x" * (MAX_BYTES // 4)] * 6, [4, 2], id="bytes"),
        ],
    )
    async def test_more_than_a_command_holds_is_several(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher, bodies: list[bytes], counts: list[int]
    ) -> None:
        publishing = asyncio.gather(*(publisher.publish(nsqd.address, "orders", body) for body in bodies))
        peer = await nsqd.publisher()
        assert [count_of(await peer.command()) for _ in counts] == counts
        for _ in counts:
            peer.respond()
        await publishing

    async def test_a_large_group_goes_alone(self, nsqd: FakeNsqd, publisher: JoiningPublisher) -> None:
        large = [b"x" * (MAX_BYTES // 2)] * 2
        publishing = asyncio.gather(
            publisher.publish(nsqd.address, "orders", b"1"),
            publisher.publish_many(nsqd.address, "orders", large),
            publisher.publish(nsqd.address, "orders", b"2"),
        )
        peer = await nsqd.publisher()
        commands = {await peer.command(), await peer.command()}
        assert commands == {mpub(*large), mpub(b"1", b"2")}
        for _ in commands:
            peer.respond()
        await publishing

    async def test_one_that_is_known_to_be_too_large_joins_no_other_and_is_not_sent(
        self, nsqd: FakeNsqd, pool: PublisherPool, publisher: JoiningPublisher
    ) -> None:
        first = asyncio.create_task(publisher.publish(nsqd.address, "orders", b"0"))
        peer = await nsqd.publisher()
        await peer.expect(pub(b"0"))
        peer.respond()
        await first
        pool._publishers[nsqd.address]._limits.refuse(Size(9), "PUB message too big 9 > 2")
        publishing = [
            asyncio.create_task(publisher.publish(nsqd.address, "orders", body))
            for body in (b"1", b"big", b"2")
        ]
        await peer.expect(mpub(b"1", b"2"))
        peer.respond()
        one, big, two = await asyncio.gather(*publishing, return_exceptions=True)
        assert (one, two) == (None, None)
        assert isinstance(big, PublishError)
        assert big.permanent


class TestRefused:
    async def test_only_the_group_to_blame_fails_and_the_others_are_sent_again_by_themselves(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher
    ) -> None:
        groups = [[b"1", b"2"], [b"3", b"bad"], [b"4"]]
        publishing = [
            asyncio.create_task(publisher.publish_many(nsqd.address, "orders", group)) for group in groups
        ]
        peer = await nsqd.publisher()
        await peer.expect(mpub(b"1", b"2", b"3", b"bad", b"4"))
        peer.refuse(b"E_BAD_MESSAGE MPUB message too big")
        again = await nsqd.publisher()
        await again.expect(mpub(b"1", b"2"), mpub(b"3", b"bad"), pub(b"4"))
        again.respond()
        again.refuse(b"E_BAD_MESSAGE MPUB message too big")
        last = await nsqd.publisher()
        await last.expect(pub(b"4"))
        last.respond()
        first, bad, other = await asyncio.gather(*publishing, return_exceptions=True)
        assert (first, other) == (None, None)
        assert isinstance(bad, PublishError)
        assert bad.permanent

    async def test_a_command_above_max_body_size_parts_no_group(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher
    ) -> None:
        """Split by size, the second group would arrive in two commands, of which one may fail."""
        groups = [[b"11", b"22"], [b"33", b"44"]]
        publishing = [
            asyncio.create_task(publisher.publish_many(nsqd.address, "orders", group)) for group in groups
        ]
        peer = await nsqd.publisher()
        await peer.expect(mpub(b"11", b"22", b"33", b"44"))
        peer.refuse(b"E_BAD_BODY MPUB body too big 28 > 24")
        again = await nsqd.publisher()
        await again.expect(mpub(b"11", b"22"), mpub(b"33", b"44"))
        again.respond()
        again.respond()
        await asyncio.gather(*publishing)

    async def test_a_topic_without_permission_fails_all_of_it_at_once(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher
    ) -> None:
        publishing = [
            asyncio.create_task(publisher.publish(nsqd.address, "orders", body)) for body in (b"1", b"2")
        ]
        peer = await nsqd.publisher()
        await peer.expect(mpub(b"1", b"2"))
        peer.refuse(b"E_UNAUTHORIZED no permission")
        failures = await asyncio.gather(*publishing, return_exceptions=True)
        assert [isinstance(each, PublishError) and each.permanent for each in failures] == [True, True]
        assert failures[0] is not failures[1]
        assert nsqd.is_idle

    async def test_a_lost_connection_fails_all_and_sends_nothing_again(
        self, nsqd: FakeNsqd, publisher: JoiningPublisher
    ) -> None:
        """They may have arrived."""
        publishing = [
            asyncio.create_task(publisher.publish(nsqd.address, "orders", body))
            for body in (b"1", b"2", b"3")
        ]
        peer = await nsqd.publisher()
        await peer.expect(mpub(b"1", b"2", b"3"))
        await peer.close()
        failures = await asyncio.gather(*publishing, return_exceptions=True)
        assert [isinstance(each, PublishError) and not each.permanent for each in failures] == [True] * 3
        assert nsqd.is_idle

    async def test_once_the_pool_is_closed_each_is_refused(
        self, pool: PublisherPool, publisher: JoiningPublisher
    ) -> None:
        await pool.close()
        with pytest.raises(PublishError, match="closed"):
            await publisher.publish("127.0.0.1:1", "orders", b"1")
