"""Publisher: what returns was confirmed, what raises says why."""

import asyncio
import json
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from nsqkit import EncodeError, Publisher, PublishError, SettingsError, event
from nsqkit.devbroker import DevBroker
from nsqkit.handler.publish_counts import PublishOutcome, published
from tests.unit.nsq.fake_nsqd import FakeNsqd
from tests.unit.publishing.sent import NOBODY, Homeless, Sent, told
from tests.unit.reading import take, topics
from tests.waiting import PATIENCE_S, turns

Counted = Callable[[], dict[tuple[str, PublishOutcome], int]]


@event("publisher.padded", version=1, topic="sent")
@dataclass
class Padded:
    n: int
    padding: str


def sized(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


def mpub(*bodies: bytes) -> bytes:
    return b"MPUB sent\n" + sized(struct.pack(">i", len(bodies)) + b"".join(map(sized, bodies)))


class TestPublisher:
    """The publisher for programs with a loop."""

    async def test_what_returns_is_in_nsqd(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, source="till", settings=told()) as publisher:
            await publisher.publish(Sent(1))
            await publisher.publish_raw("sent", b"raw")
            await publisher.publish(Sent(2), topic="elsewhere")
        first, second = await take(broker.tcp_address, "sent", 2)
        assert (json.loads(first)["source"], json.loads(first)["data"]) == ("till", {"n": 1})
        assert second == b"raw"
        assert len(await take(broker.tcp_address, "elsewhere", 1)) == 1

    async def test_a_deferred_event_waits_in_its_channels(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            await publisher.publish(Sent(1))
            await take(broker.tcp_address, "sent", 1)
            await publisher.publish(Sent(2), defer_s=3600)
        (channel,) = (await topics(broker.http_address))["sent"]["channels"]
        assert (channel["depth"], channel["deferred_count"]) == (0, 1)

    async def test_many_go_out_in_one_command_per_topic_in_their_order(self) -> None:
        async with FakeNsqd() as nsqd:
            publisher = Publisher(nsqd.address, settings=told())
            sending = asyncio.create_task(publisher.publish_many([Sent(n) for n in range(3)]))
            peer = await nsqd.accept()
            await peer.shake_hands()
            command = await peer.command()
            assert command.startswith(b"MPUB sent\n")
            assert re.findall(rb'"n":(\d)', command) == [b"0", b"1", b"2"]
            peer.respond()
            await sending
            await publisher.close()

    async def test_of_many_none_is_sent_if_one_cannot_be(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            with pytest.raises(EncodeError, match="no topic"):
                await publisher.publish_many([Sent(1), Homeless(2)])
        assert "sent" not in await topics(broker.http_address)

    async def test_many_of_several_topics_reach_each(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            await publisher.publish_many([Homeless(1), Sent(2)], topic="both")
            await publisher.publish_many([Sent(3), Sent(4)])
        assert (await topics(broker.http_address))["both"]["message_count"] == 2
        assert (await topics(broker.http_address))["sent"]["message_count"] == 2

    async def test_where_one_nsqd_fails_the_next_is_used_and_kept(self, broker: DevBroker) -> None:
        async with Publisher([NOBODY, broker.tcp_address], settings=told()) as publisher:
            await publisher.publish(Sent(1))
            assert publisher._addresses == [broker.tcp_address, NOBODY]
            await publisher.publish_many([Sent(2)])
        assert (await topics(broker.http_address))["sent"]["message_count"] == 2

    async def test_where_all_fail_the_last_failure_is_told(self) -> None:
        async with Publisher([NOBODY, "127.0.0.1:2"], settings=told()) as publisher:
            with pytest.raises(
                PublishError, match=r"topic sent: not published to nsqd 127\.0\.0\.1:2"
            ) as caught:
                await publisher.publish(Sent(1))
        assert not caught.value.permanent

    async def test_what_nsqd_refuses_for_good_is_not_tried_elsewhere(self, broker: DevBroker) -> None:
        async with FakeNsqd() as other:
            async with Publisher([broker.tcp_address, other.address], settings=told()) as publisher:
                with pytest.raises(PublishError) as caught:
                    await publisher.publish_raw("sent", b"x" * 2_000_000)
            assert other.is_idle
        assert caught.value.permanent

    async def test_it_publishes_to_the_nsqd_of_the_settings(self, broker: DevBroker) -> None:
        settings = told(nsqd=(broker.tcp_address,), service="from settings")
        async with Publisher(settings=settings) as publisher:
            await publisher.publish(Sent(1))
        (body,) = await take(broker.tcp_address, "sent", 1)
        assert json.loads(body)["source"] == "from settings"

    def test_without_any_nsqd_it_says_what_to_set(self) -> None:
        with pytest.raises(SettingsError, match="NSQKIT_NSQD"):
            Publisher(settings=told())

    def test_an_address_that_is_none_is_refused(self) -> None:
        with pytest.raises(SettingsError, match="host:port"):
            Publisher("nsqd", settings=told())

    async def test_closing_twice_does_nothing(self, broker: DevBroker) -> None:
        publisher = Publisher(broker.tcp_address, settings=told())
        await publisher.publish(Sent(1))
        await publisher.close()
        await publisher.close()
        with pytest.raises(PublishError, match="closed"):
            await publisher.publish(Sent(2))


class TestTurn:
    """Publishes that are asked for while others are under way."""

    async def test_those_of_one_turn_of_the_loop_leave_in_one_command_behind_the_first(self) -> None:
        async with FakeNsqd() as nsqd, Publisher(nsqd.address, settings=told()) as publisher:
            publishing = asyncio.gather(*(publisher.publish_raw("sent", b"%d" % n) for n in range(4)))
            peer = await nsqd.accept()
            await peer.shake_hands()
            await peer.expect(b"PUB sent\n" + sized(b"0"), mpub(b"1", b"2", b"3"))
            peer.respond()
            peer.respond()
            await publishing

    async def test_a_deferred_one_goes_alone_and_keeps_its_place(self) -> None:
        async with FakeNsqd() as nsqd, Publisher(nsqd.address, settings=told()) as publisher:
            publishing = asyncio.gather(
                *(publisher.publish_raw("sent", b"%d" % n, defer_s=1.5 * (n == 3)) for n in range(6)),
            )
            peer = await nsqd.accept()
            await peer.shake_hands()
            await peer.expect(
                b"PUB sent\n" + sized(b"0"),
                mpub(b"1", b"2"),
                b"DPUB sent 1500\n" + sized(b"3"),
                mpub(b"4", b"5"),
            )
            for _ in range(4):
                peer.respond()
            await publishing

    async def test_many_at_once_keep_their_place(self) -> None:
        async with FakeNsqd() as nsqd, Publisher(nsqd.address, settings=told()) as publisher:
            publishing = asyncio.gather(
                publisher.publish_raw("sent", b"first"),
                publisher.publish_raw("sent", b"before"),
                publisher.publish_many([Sent(1), Sent(2)]),
                publisher.publish_raw("sent", b"behind"),
            )
            peer = await nsqd.accept()
            await peer.shake_hands()
            commands = [await peer.command() for _ in range(4)]
            assert [command.split(b" ")[0] for command in commands] == [b"PUB", b"PUB", b"MPUB", b"PUB"]
            assert [b"before" in commands[1], b"behind" in commands[3]] == [True, True]
            for _ in range(4):
                peer.respond()
            await publishing

    async def test_what_nsqd_refuses_of_those_together_it_is_asked_one_by_one(self) -> None:
        """Its max-msg-size may be lower than the setting, and MPUB is all or none."""
        async with FakeNsqd() as nsqd, Publisher(nsqd.address, settings=told()) as publisher:
            publishing = [asyncio.create_task(publisher.publish_raw("sent", b"%d" % n)) for n in range(4)]
            peer = await nsqd.accept()
            await peer.shake_hands()
            await peer.expect(b"PUB sent\n" + sized(b"0"), mpub(b"1", b"2", b"3"))
            peer.respond()
            peer.refuse(b"E_BAD_MESSAGE MPUB message too big 1 > 0")
            again = await nsqd.accept()
            await again.shake_hands()
            await again.expect(*(b"PUB sent\n" + sized(b"%d" % n) for n in (1, 2, 3)))
            again.respond()
            again.refuse(b"E_BAD_MESSAGE PUB message too big 1 > 0")
            first, second, refused, beside = await asyncio.gather(*publishing, return_exceptions=True)
        assert (first, second) == (None, None)
        assert isinstance(refused, PublishError)
        assert isinstance(beside, PublishError)
        assert (refused.permanent, beside.permanent) == (True, False)

    async def test_a_loss_fails_each_with_an_error_of_its_own(self) -> None:
        async with FakeNsqd() as nsqd, Publisher(nsqd.address, settings=told()) as publisher:
            publishing = [asyncio.create_task(publisher.publish_raw("sent", b"%d" % n)) for n in range(3)]
            peer = await nsqd.accept()
            await peer.shake_hands()
            await peer.expect(b"PUB sent\n" + sized(b"0"), mpub(b"1", b"2"))
            await peer.close()
            told_ = await asyncio.gather(*publishing, return_exceptions=True)
        assert [isinstance(error, PublishError) and not error.permanent for error in told_] == [True] * 3
        assert len({id(error) for error in told_}) == 3

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"", id="empty"),
            pytest.param("text", id="no bytes"),
            pytest.param(None, id="nothing"),
        ],
    )
    async def test_what_nsq_cannot_take_is_refused_alone(self, broker: DevBroker, body: Any) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            publishing = (publisher.publish_raw("sent", each) for each in [b"1", b"2", body, b"3"])
            first, second, refused, last = await asyncio.gather(*publishing, return_exceptions=True)
        assert (first, second, last) == (None, None, None)
        assert isinstance(refused, PublishError)
        assert refused.permanent
        assert await take(broker.tcp_address, "sent", 3) == [b"1", b"2", b"3"]

    async def test_a_bad_topic_harms_no_other(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            publishing = (publisher.publish_raw(topic, b"1") for topic in ["sent", "a b", "a b", "sent"])
            first, *bad, last = await asyncio.gather(*publishing, return_exceptions=True)
        assert (first, last) == (None, None)
        assert [isinstance(error, PublishError) and error.permanent for error in bad] == [True, True]

    async def test_all_arrive_once_in_their_order(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            await asyncio.gather(*(publisher.publish_raw("sent", b"%d" % n) for n in range(2500)))
        assert await take(broker.tcp_address, "sent", 2500) == [b"%d" % n for n in range(2500)]

    async def test_who_gives_up_disturbs_nobody(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            publishing = [asyncio.create_task(publisher.publish_raw("sent", b"%d" % n)) for n in range(4)]
            await turns()
            publishing[1].cancel()
            *_, last = await asyncio.gather(*publishing, return_exceptions=True)
        assert last is None

    async def test_close_waits_for_those_that_have_not_left_yet(self, broker: DevBroker) -> None:
        publisher = Publisher(broker.tcp_address, settings=told())
        publishing = asyncio.gather(*(publisher.publish_raw("sent", b"%d" % n) for n in range(3)))
        await turns()
        await publisher.close()
        assert await publishing == [None, None, None]


class TestPublishSoon:
    """Events that leave together."""

    async def test_each_is_confirmed_and_arrives_once_in_order(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            await asyncio.gather(*(publisher.publish_soon(Sent(n)) for n in range(2500)))
        assert [json.loads(body)["data"]["n"] for body in await take(broker.tcp_address, "sent", 2500)] == [
            *range(2500)
        ]

    async def test_what_nobody_waits_for_is_sent_at_the_end(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            publisher.publish_soon(Sent(1))
            publisher.publish_soon(Homeless(2), topic="elsewhere")
        assert sorted(await topics(broker.http_address)) == ["elsewhere", "sent"]

    async def test_what_cannot_be_published_is_refused_at_once(self, broker: DevBroker) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            with pytest.raises(EncodeError, match="has no topic"):
                publisher.publish_soon(Homeless(1))

    async def test_where_nobody_answers_it_fails(self) -> None:
        async with Publisher(NOBODY, settings=told()) as publisher:
            with pytest.raises(PublishError):
                await publisher.publish_soon(Sent(1))


class TestAnotherLoop:
    """A publisher that a program uses on one event loop after the other."""

    @pytest.fixture
    def publisher(self, threaded_broker: DevBroker) -> Publisher:
        return Publisher(threaded_broker.tcp_address, settings=told())

    @staticmethod
    def sent(broker: DevBroker, count: int) -> list[int]:
        bodies = asyncio.run(take(broker.tcp_address, "sent", count))
        return [json.loads(body)["data"]["n"] for body in bodies]

    def test_each_loop_has_its_publishes_confirmed(
        self, threaded_broker: DevBroker, publisher: Publisher
    ) -> None:
        async def publish(n: int) -> None:
            await publisher.publish(Sent(n))
            await asyncio.gather(*(publisher.publish(Sent(n)) for _ in range(3)))
            await publisher.publish_soon(Sent(n))
            await publisher.publish_many([Sent(n)])

        asyncio.run(publish(1))
        asyncio.run(publish(2))
        asyncio.run(publisher.close())
        assert self.sent(threaded_broker, 12) == [1] * 6 + [2] * 6

    def test_what_waits_when_the_loop_ends_fails_and_blocks_nothing(
        self, threaded_broker: DevBroker, publisher: Publisher
    ) -> None:
        async def begin() -> "asyncio.Future[None]":
            publisher._soon._wait_s = PATIENCE_S  # longer than the loop lasts
            return publisher.publish_soon(Sent(1))

        async def publish() -> None:
            publisher._soon._wait_s = 0.0
            await publisher.publish_soon(Sent(2))

        waits = asyncio.run(begin())
        asyncio.run(publish())
        with pytest.raises(PublishError, match="the event loop ended before nsqd confirmed it"):
            waits.result()
        asyncio.run(publisher.close())
        assert self.sent(threaded_broker, 1) == [2]

    def test_what_is_under_way_when_the_loop_ends_fails(self) -> None:
        async def begin(address: str) -> "asyncio.Future[None]":
            publisher = Publisher(address, settings=told())
            confirmed = publisher.publish_soon(Sent(1))
            publisher._soon.flush()
            await turns(3)
            return confirmed

        with socket.create_server(("127.0.0.1", 0)) as silent:
            confirmed = asyncio.run(begin("127.0.0.1:{1}".format(*silent.getsockname())))
        with pytest.raises(PublishError, match="the event loop ended before nsqd confirmed it"):
            confirmed.result()

    def test_a_loop_that_is_closed_without_cancelling_its_tasks_leaves_nothing_open(
        self, threaded_broker: DevBroker, publisher: Publisher
    ) -> None:
        async def begin() -> "asyncio.Future[None]":
            await publisher.publish(Sent(1))
            self.kept.append(publisher._publishers._publishers[threaded_broker.tcp_address]._connection)
            confirmed = publisher.publish_soon(Sent(2))
            confirmed.add_done_callback(lambda _: None)  # as a task that awaits it
            return confirmed

        self.kept: list[Any] = []
        loop = asyncio.new_event_loop()
        confirmed = loop.run_until_complete(begin())
        under_way = asyncio.all_tasks(loop)
        loop.close()
        asyncio.run(publisher.publish(Sent(3)))
        with pytest.raises(PublishError, match="the event loop ended"):
            confirmed.result()
        (connection,) = self.kept
        assert connection._stream.socket is None
        asyncio.run(publisher.close())
        connection._stream._transport._sock = None  # else the collector reports it, and the tasks
        for task in under_way:
            task._log_destroy_pending = False  # type: ignore[attr-defined]

    def test_two_loops_in_turn_have_their_publishes_confirmed(
        self, threaded_broker: DevBroker, publisher: Publisher
    ) -> None:
        with asyncio.Runner() as first, asyncio.Runner() as second:
            for n, runner in enumerate((first, second, first, second)):
                runner.run(publisher.publish(Sent(n)))
            second.run(publisher.close())
        assert self.sent(threaded_broker, 4) == [0, 1, 2, 3]

    def test_two_loops_at_the_same_time_are_refused(
        self, threaded_broker: DevBroker, publisher: Publisher
    ) -> None:
        async def publish() -> None:
            await publisher.publish(Sent(1))
            with pytest.raises(RuntimeError, match="in use on another event loop"):
                await asyncio.to_thread(asyncio.run, publisher.publish(Sent(2)))
            await publisher.publish(Sent(3))
            await publisher.close()

        asyncio.run(publish())
        assert self.sent(threaded_broker, 2) == [1, 3]

    def test_a_closed_one_stays_closed(self, publisher: Publisher) -> None:
        async def use() -> None:
            async with publisher:
                await publisher.publish(Sent(1))

        asyncio.run(use())
        with pytest.raises(PublishError, match="the publisher is closed"):
            asyncio.run(publisher.publish(Sent(2)))


class TestCounts:
    """Each message counts once, whichever way it was published, and however often it was sent."""

    @pytest.fixture
    def counted(self) -> Counted:
        before = published()
        return lambda: {
            key: n - before.get(key, 0) for key, n in published().items() if n != before.get(key, 0)
        }

    async def test_each_way_to_publish_counts(self, broker: DevBroker, counted: Counted) -> None:
        async with Publisher(broker.tcp_address, settings=told()) as publisher:
            await publisher.publish(Sent(1))
            await publisher.publish_many([Sent(2), Sent(3)])
            await asyncio.gather(*(publisher.publish_soon(Sent(n)) for n in range(4)))
            await publisher.publish_raw("sent", b"raw")
            await publisher.publish_raw("elsewhere", b"raw")
        assert counted() == {("sent", PublishOutcome.CONFIRMED): 8, ("other", PublishOutcome.CONFIRMED): 1}

    async def test_what_no_nsqd_confirms_counts_as_failed(self, counted: Counted) -> None:
        async with Publisher(NOBODY, settings=told()) as publisher:
            publishes = [publisher.publish(Sent(1)), publisher.publish_many([Sent(2), Sent(3)])]
            publishes += [publisher.publish_raw("sent", b"raw")]
            soon = publisher.publish_soon(Sent(4))
            failures = await asyncio.gather(*publishes, soon, return_exceptions=True)
        assert {type(each) for each in failures} == {PublishError}
        assert counted() == {("sent", PublishOutcome.FAILED): 5}

    async def test_a_message_that_another_nsqd_confirms_counts_once(
        self, broker: DevBroker, counted: Counted
    ) -> None:
        async with Publisher([NOBODY, broker.tcp_address], settings=told()) as publisher:
            await publisher.publish(Sent(1))
            await publisher.publish_soon(Sent(2))
        assert counted() == {("sent", PublishOutcome.CONFIRMED): 2}

    async def test_messages_that_are_sent_again_by_themselves_count_once(
        self, broker: DevBroker, counted: Counted
    ) -> None:
        """One body is larger than nsqd takes, so it refuses the command of all."""
        async with Publisher(broker.tcp_address, settings=told(max_msg_bytes=5_000_000)) as publisher:
            bodies = [Padded(n, "x" * (2_000_000 * (n == 2))) for n in range(4)]
            soon = [publisher.publish_soon(each) for each in bodies]
            ends = await asyncio.gather(*soon, return_exceptions=True)
        assert [type(each) for each in ends] == [type(None), type(None), PublishError, type(None)]
        assert counted() == {("sent", PublishOutcome.CONFIRMED): 3, ("sent", PublishOutcome.FAILED): 1}
