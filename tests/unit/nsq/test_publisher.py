"""Publishing: what returns was confirmed, and one publish's failure stays its own."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from typing import cast

import pytest

from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher import NsqdPublisher, ensure_channel
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer
from tests.waiting import PATIENCE_S

OPTIONS = ConnectionOptions()


def sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


@pytest.fixture
async def publisher(nsqd: FakeNsqd) -> AsyncIterator[NsqdPublisher]:
    publisher = NsqdPublisher(nsqd.address, OPTIONS, publish_timeout_s=5.0)
    yield publisher
    await publisher.close()


async def _accept(nsqd: FakeNsqd) -> Peer:
    peer = await nsqd.accept()
    await peer.shake_hands()
    return peer


async def test_a_publish_returns_at_nsqds_ok_and_not_before(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    """The Future of pynsq's Writer means that the bytes were flushed."""
    publishing = asyncio.create_task(publisher.publish("orders", b"body"))
    peer = await _accept(nsqd)
    await peer.expect(b"PUB orders\n" + sized(b"body"))
    assert not publishing.done()
    peer.respond()
    await publishing


@pytest.mark.parametrize(
    ("defer_s", "line"),
    [(1.5, b"DPUB orders 1500\n"), (0.0001, b"DPUB orders 1\n"), (0.0, b"PUB orders\n")],
)
async def test_a_deferred_publish_says_milliseconds(
    nsqd: FakeNsqd, publisher: NsqdPublisher, defer_s: float, line: bytes
) -> None:
    publishing = asyncio.create_task(publisher.publish("orders", b"body", defer_s=defer_s))
    peer = await _accept(nsqd)
    await peer.expect(line + sized(b"body"))
    peer.respond()
    await publishing


async def test_who_only_publishes_asks_for_no_message_timeout(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    """An nsqd with a lower max-msg-timeout would refuse the connection."""
    publishing = asyncio.create_task(publisher.publish("orders", b"body"))
    peer = await nsqd.accept()
    assert "msg_timeout" not in await peer.shake_hands()
    await peer.command()
    peer.respond()
    await publishing


@pytest.mark.parametrize("bodies", [[b"1", b"22"], (b"1", b"22")], ids=["list", "tuple"])
async def test_many_bodies_go_out_in_one_command(
    nsqd: FakeNsqd, publisher: NsqdPublisher, bodies: list[bytes] | tuple[bytes, ...]
) -> None:
    """Pynsq's mpub closes the connection when it is given a tuple."""
    publishing = asyncio.create_task(publisher.publish_many("orders", bodies))
    peer = await _accept(nsqd)
    await peer.expect(b"MPUB orders\n" + sized(struct.pack(">i", 2) + sized(b"1") + sized(b"22")))
    peer.respond()
    await publishing


async def test_no_bodies_are_no_work(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    await publisher.publish_many("orders", [])
    assert nsqd.is_idle


async def test_publishes_do_not_wait_for_each_other(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    publishing = [asyncio.create_task(publisher.publish("orders", b"%d" % n)) for n in range(3)]
    peer = await _accept(nsqd)
    await peer.expect(*(b"PUB orders\n" + sized(b"%d" % n) for n in range(3)))
    for _ in range(3):
        peer.respond()
    await asyncio.gather(*publishing)
    assert nsqd.is_idle


@pytest.mark.parametrize("body", [b"", "text", None, bytearray(b"x")])
async def test_a_body_that_nsq_cannot_take_is_refused_before_anything_is_sent(
    nsqd: FakeNsqd, publisher: NsqdPublisher, body: object
) -> None:
    """Pynsq leaves the length of an empty body out: nsqd takes the next command for it."""
    for publishing in (
        publisher.publish("orders", cast("bytes", body)),
        publisher.publish_many("orders", [b"good", cast("bytes", body)]),
    ):
        with pytest.raises(PublishError, match="body") as caught:
            await publishing
        assert caught.value.permanent
    assert nsqd.is_idle


@pytest.mark.parametrize("topic", ["", "a b", "x" * 65, "a#ephemeral2", "orders\nNOP"])
async def test_a_bad_topic_name_is_refused_before_anything_is_sent(
    nsqd: FakeNsqd, publisher: NsqdPublisher, topic: str
) -> None:
    """Pynsq's pub does not look at the name; nsqd closes the connection at a bad one."""
    with pytest.raises(PublishError, match="topic name") as caught:
        await publisher.publish(topic, b"body")
    assert caught.value.permanent
    assert nsqd.is_idle


@pytest.mark.parametrize("defer_s", [-0.1, math.nan, math.inf])
async def test_a_bad_delay_is_refused_before_anything_is_sent(
    nsqd: FakeNsqd, publisher: NsqdPublisher, defer_s: float
) -> None:
    with pytest.raises(ValueError, match="_s="):
        await publisher.publish("orders", b"body", defer_s=defer_s)
    assert nsqd.is_idle


async def test_an_error_frame_fails_only_the_publish_that_it_answers(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    publishing = [asyncio.create_task(publisher.publish("orders", b"%d" % n)) for n in range(3)]
    peer = await _accept(nsqd)
    for _ in range(3):
        await peer.command()
    peer.respond()
    peer.refuse(b"E_BAD_MESSAGE PUB message too big 2000000 > 1048576")
    first, second, third = await asyncio.gather(*publishing, return_exceptions=True)
    assert first is None
    assert isinstance(second, PublishError)
    assert second.permanent
    assert "too big" in second.reason
    assert isinstance(third, PublishError)
    assert not third.permanent


async def test_the_next_publish_after_a_loss_connects_anew(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    publishing = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    await peer.close()
    with pytest.raises(PublishError) as caught:
        await publishing
    assert not caught.value.permanent
    publishing = asyncio.create_task(publisher.publish("orders", b"2"))
    peer = await _accept(nsqd)
    await peer.expect(b"PUB orders\n" + sized(b"2"))
    peer.respond()
    await publishing


async def test_an_nsqd_that_is_not_there_is_not_permanent() -> None:
    async with FakeNsqd() as gone:
        pass
    with pytest.raises(PublishError, match="Connection refused") as caught:
        await NsqdPublisher(gone.address, OPTIONS).publish("orders", b"body")
    assert not caught.value.permanent


async def test_a_refused_secret_is_permanent(nsqd: FakeNsqd) -> None:
    publisher = NsqdPublisher(nsqd.address, ConnectionOptions(auth_secret="wrong"))
    publishing = asyncio.create_task(publisher.publish("orders", b"body"))
    peer = await nsqd.accept()
    await peer.shake_hands(auth_required=True)
    await peer.command()
    peer.refuse(b"E_UNAUTHORIZED AUTH no authorizations found")
    with pytest.raises(PublishError, match="E_UNAUTHORIZED") as caught:
        await publishing
    assert caught.value.permanent


async def test_a_publish_without_an_answer_ends_in_time_and_does_not_disturb_the_next(nsqd: FakeNsqd) -> None:
    publisher = NsqdPublisher(nsqd.address, OPTIONS, publish_timeout_s=0.5)
    publishing = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    with pytest.raises(PublishError, match="within") as caught:
        await publishing
    assert not caught.value.permanent
    publisher._publish_timeout_s = PATIENCE_S
    publishing = asyncio.create_task(publisher.publish("orders", b"2"))
    await peer.command()
    peer.respond()
    peer.respond()
    await publishing
    await publisher.close()


async def test_close_waits_for_what_is_under_way(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    publishing = asyncio.create_task(publisher.publish("orders", b"body"))
    peer = await _accept(nsqd)
    await peer.command()
    closing = asyncio.create_task(publisher.close())
    peer.respond()
    await publishing
    await closing
    await peer.expect_end()


async def test_a_publish_that_was_connecting_at_close_is_still_confirmed(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    publishing = asyncio.create_task(publisher.publish("orders", b"body"))
    peer = await nsqd.accept()
    closing = asyncio.create_task(publisher.close())
    await peer.shake_hands()
    await peer.command()
    peer.respond()
    await publishing
    await closing
    await peer.expect_end()


async def test_nothing_is_published_after_close(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    await publisher.close()
    await publisher.close()
    with pytest.raises(PublishError, match="closed"):
        await publisher.publish("orders", b"body")
    assert nsqd.is_idle


async def test_a_channel_is_made_by_a_subscription_that_never_asks_for_messages(nsqd: FakeNsqd) -> None:
    making = asyncio.create_task(ensure_channel(nsqd.address, "orders.stock.dead", "keep", OPTIONS))
    peer = await _accept(nsqd)
    await peer.expect(b"SUB orders.stock.dead keep\n")
    assert not making.done()
    peer.respond()
    await making
    await peer.expect_end()


async def test_a_channel_that_is_refused_is_a_refusal(nsqd: FakeNsqd) -> None:
    making = asyncio.create_task(ensure_channel(nsqd.address, "orders", "stock", OPTIONS))
    peer = await _accept(nsqd)
    await peer.command()
    peer.refuse(b'E_UNAUTHORIZED AUTH failed for SUB on "orders" "stock"')
    with pytest.raises(RefusedError):
        await making


async def test_a_channel_on_an_nsqd_that_is_not_there_is_lost() -> None:
    with pytest.raises(ConnectionLostError):
        await ensure_channel("127.0.0.1:1", "orders", "stock", OPTIONS)
