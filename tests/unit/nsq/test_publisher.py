"""Publishing: what returns was confirmed, and one publish's failure stays its own."""

import asyncio
import math
import struct
from collections.abc import AsyncIterator
from typing import cast

import pytest

from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publish_limits import Size
from nsqkit.nsq.publisher import NsqdPublisher, ensure_channel
from nsqkit.policy.refusal import Fault, fault_behind
from tests.unit.nsq.fake_nsqd import FakeNsqd, Peer
from tests.waiting import PATIENCE_S, until

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


async def test_an_error_frame_fails_only_the_publish_that_it_answers_and_those_after_it_are_sent_again(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    """Nsqd closes the connection at a refusal, and runs no command after it."""
    publishing = [asyncio.create_task(publisher.publish("orders", b"%d" % n)) for n in range(3)]
    peer = await _accept(nsqd)
    for _ in range(3):
        await peer.command()
    peer.respond()
    peer.refuse(b"E_BAD_TOPIC PUB topic name is not valid")
    next_peer = await _accept(nsqd)
    await next_peer.expect(b"PUB orders\n" + sized(b"2"))
    next_peer.respond()
    first, second, third = await asyncio.gather(*publishing, return_exceptions=True)
    assert first is None
    assert isinstance(second, PublishError)
    assert second.permanent
    assert "E_BAD_TOPIC" in second.reason
    assert third is None
    assert nsqd.is_idle


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


async def test_a_publish_without_an_answer_ends_in_time_and_the_next_uses_a_new_connection(
    nsqd: FakeNsqd,
) -> None:
    """A connection that was dropped silently would let each publish wait for its whole time."""
    publisher = NsqdPublisher(nsqd.address, OPTIONS, publish_timeout_s=0.2)
    publishing = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    with pytest.raises(PublishError, match="within") as caught:
        await publishing
    assert not caught.value.permanent
    publisher._publish_timeout_s = PATIENCE_S
    await peer.expect_end()
    publishing = asyncio.create_task(publisher.publish("orders", b"2"))
    peer = await _accept(nsqd)
    await peer.expect(b"PUB orders\n" + sized(b"2"))
    peer.respond()
    await publishing
    await publisher.close()


async def test_a_cancelled_publish_without_an_answer_ends_its_connection_later(nsqd: FakeNsqd) -> None:
    """Handlers often have less time than publish_timeout_s, so each publish would be cancelled."""
    publisher = NsqdPublisher(nsqd.address, OPTIONS, publish_timeout_s=0.2)
    publishing = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    publishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publishing
    await peer.expect_end()
    await publisher.close()


async def test_a_cancelled_publish_that_is_answered_keeps_its_connection(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    publishing = [asyncio.create_task(publisher.publish("orders", b"%d" % n)) for n in range(2)]
    peer = await _accept(nsqd)
    await peer.command()
    publishing[0].cancel()
    await peer.command()
    peer.respond()
    peer.respond()
    await publishing[1]
    assert publishing[0].cancelled()
    assert nsqd.is_idle


LARGE = b"x" * ((1 << 20) + 1)


async def test_a_doubtful_publish_has_a_connection_to_itself_so_that_its_refusal_harms_no_other(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    beside = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    large = asyncio.create_task(publisher.publish("orders", LARGE))
    alone = await _accept(nsqd)
    await alone.command()
    alone.refuse(b"E_BAD_MESSAGE PUB message too big 1048577 > 1048576")
    with pytest.raises(PublishError, match=r"too big.*--max-msg-size") as caught:
        await large
    assert caught.value.permanent
    await alone.expect_end()
    peer.respond()
    await beside
    with pytest.raises(PublishError, match=r"1048577 bytes, and nsqd accepts 1048576 \(its --max-msg-size\)"):
        await publisher.publish("orders", LARGE)
    assert nsqd.is_idle


async def test_what_nsqd_has_accepted_once_needs_no_separate_connection_any_more(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    publishing = [asyncio.create_task(publisher.publish("orders", LARGE)) for _ in range(2)]
    alone = await _accept(nsqd)
    await alone.command()
    alone.respond()
    peer = await _accept(nsqd)
    await peer.command()
    peer.respond()
    await asyncio.gather(*publishing)
    await alone.expect_end()
    publishing = [asyncio.create_task(publisher.publish("orders", b"1"))]
    await peer.expect(b"PUB orders\n" + sized(b"1"))
    peer.respond()
    await asyncio.gather(*publishing)


async def test_a_reported_limit_is_asked_again_after_the_connection_to_that_nsqd_has_ended(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    """It may have been started again with another limit."""
    beside = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    peer.respond()
    await beside
    for answer in (b"E_INVALID DPUB timeout 7200000 out of range 0-3600000", b""):
        deferred = asyncio.create_task(publisher.publish("orders", b"2", defer_s=7200.0))
        alone = await _accept(nsqd)
        await alone.command()
        if answer:
            alone.refuse(answer)
            with pytest.raises(PublishError, match="--max-req-timeout"):
                await deferred
            await peer.close()
            await until(lambda: publisher._connection is None or publisher._connection.closed())
        else:
            alone.respond()
            await deferred


async def test_a_publish_above_a_reported_limit_is_not_sent_and_fails_as_if_nsqd_had_refused_it(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    """The class of the refusal decides whether a handler is blocked."""
    beside = asyncio.create_task(publisher.publish("orders", b"1"))
    peer = await _accept(nsqd)
    await peer.command()
    peer.respond()
    await beside
    publisher._limits.refuse(Size(3), "PUB message too big 3 > 2")
    publisher._limits.refuse(Size(1, 20), "MPUB body too big 20 > 10")
    publisher._limits.refuse(Size(1, delay_ms=7000), "DPUB timeout 7000 out of range 0-1000")
    for publishing in (
        publisher.publish("orders", b"123"),
        publisher.publish_together("orders", [b"1"] * 3),
        publisher.publish("orders", b"1", defer_s=7.0),
    ):
        with pytest.raises(PublishError, match=r"its --max-(msg-size|body-size|req-timeout)") as caught:
            await publishing
        assert caught.value.permanent
        assert fault_behind(caught.value) is Fault.MESSAGE
    assert nsqd.is_idle


async def test_many_that_exceed_nsqds_limit_are_sent_in_several_commands(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    bodies = [b"%d" % n * 10 for n in range(4)]
    publishing = asyncio.create_task(publisher.publish_many("orders", bodies))
    peer = await _accept(nsqd)
    await peer.command()
    peer.refuse(b"E_BAD_BODY MPUB body too big 60 > 32")
    peer = await _accept(nsqd)
    for first in (0, 2):
        two = b"".join(map(sized, bodies[first : first + 2]))
        await peer.expect(b"MPUB orders\n" + sized(struct.pack(">i", 2) + two))
        peer.respond()
    await publishing


async def test_a_body_that_only_fits_without_the_framing_is_sent_by_itself(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    bodies = [b"1", b"x" * 30, b"2"]
    publishing = asyncio.create_task(publisher.publish_many("orders", bodies))
    peer = await _accept(nsqd)
    await peer.command()
    peer.refuse(b"E_BAD_BODY MPUB body too big 48 > 32")
    peer = await _accept(nsqd)
    await peer.expect(b"MPUB orders\n" + sized(struct.pack(">i", 1) + sized(b"1")))
    peer.respond()
    await peer.expect(b"PUB orders\n" + sized(b"x" * 30))
    peer.respond()
    await peer.expect(b"MPUB orders\n" + sized(struct.pack(">i", 1) + sized(b"2")))
    peer.respond()
    await publishing


async def test_several_commands_end_at_the_first_that_fails(nsqd: FakeNsqd, publisher: NsqdPublisher) -> None:
    publisher._limits.refuse(Size(1, 60), "MPUB body too big 60 > 10")
    publishing = asyncio.create_task(publisher.publish_many("orders", [b"1", b"2", b"3"]))
    peer = await _accept(nsqd)
    await peer.command()
    peer.respond()
    await peer.command()
    peer.refuse(b"E_MPUB_FAILED MPUB failed exiting")
    with pytest.raises(PublishError, match="E_MPUB_FAILED"):
        await publishing
    assert nsqd.is_idle


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


async def test_after_a_refusal_for_the_topic_its_publishes_disturb_no_others(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    publishing = [
        asyncio.create_task(publisher.publish(topic, b"1")) for topic in ("secret", "secret", "orders")
    ]
    peer = await _accept(nsqd)
    for _ in range(3):
        await peer.command()
    peer.refuse(b'E_UNAUTHORIZED AUTH failed for PUB on "secret" ""')
    connections = [await _accept(nsqd), await _accept(nsqd)]
    for each in connections:
        if (await each.command()).startswith(b"PUB secret"):
            each.refuse(b'E_UNAUTHORIZED AUTH failed for PUB on "secret" ""')
        else:
            each.respond()
    first, second, beside = await asyncio.gather(*publishing, return_exceptions=True)
    assert isinstance(first, PublishError)
    assert isinstance(second, PublishError)
    assert beside is None
    allowed = asyncio.create_task(publisher.publish("secret", b"2"))
    alone = await _accept(nsqd)
    await alone.command()
    alone.respond()
    await allowed
    assert not publisher._forbidden_topics


async def test_where_nsqd_itself_is_at_fault_a_publish_is_sent_again_only_once(
    nsqd: FakeNsqd, publisher: NsqdPublisher
) -> None:
    publishing = [asyncio.create_task(publisher.publish("orders", b"%d" % n)) for n in range(4)]
    for n in (4, 3):
        peer = await _accept(nsqd)
        for _ in range(n):
            await peer.command()
        peer.refuse(b"E_PUB_FAILED PUB failed exiting")
    results = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(each, PublishError) and not each.permanent for each in results)
    assert nsqd.is_idle
