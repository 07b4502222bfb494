"""The harness's NSQ on the ledger: it answers a handler's consumer as nsqd's connections do."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from nsqkit.errors import PublishError
from nsqkit.nsq import ConnectionOptions, ConsumerOptions
from nsqkit.nsq.message import one_by_one
from nsqkit.testing.broker import HandlerActivity
from nsqkit.testing.ledger_broker import LedgerBroker
from nsqkit.testing.ledger_consumer import LedgerConsumer

IDLE = HandlerActivity(active=lambda: 0, is_paused=lambda: False, longest_wait_s=lambda: 0.0)


class Bench:
    """A broker, and one consumer that keeps what it gets."""

    def __init__(self) -> None:
        self.broker = LedgerBroker(lambda: 0)
        self.messages: list[Any] = []
        self.failures: list[str] = []

    def consumer(self, *topics: str, max_in_flight: int = 10, lease_s: float | None = 60.0) -> LedgerConsumer:
        return self.broker.make_consumer(
            ConsumerOptions(
                topics=topics or ("orders",),
                channel="stock",
                connection=ConnectionOptions(msg_timeout_s=lease_s),
                max_in_flight=max_in_flight,
            ),
            on_messages=one_by_one(self.messages.append),
            on_settle_failure=self.failures.append,
            log=None,
        )

    async def publish(self, topic: str = "orders", body: bytes = b"{}", **more: Any) -> None:
        await self.broker.publish("", topic, body, **more)
        await self.settle()

    async def settle(self, after_s: float = 0.0) -> None:
        self.broker.clock.advance(after_s)
        await self.broker.settle(IDLE, through_delays=False)

    @property
    def attempts(self) -> list[int]:
        return [message.attempts for message in self.messages]


@pytest.fixture
async def bench() -> Iterator[Bench]:  # type: ignore[misc]  # pytest-asyncio's
    bench = Bench()
    await bench.broker.start([("orders", "stock")])
    yield bench
    await bench.broker.stop()


async def test_a_message_says_what_one_of_nsqds_says(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish(body=b'{"n": 1}')
    (message,) = bench.messages
    assert (message.body, message.topic, message.attempts, message.lease_s) == (
        b'{"n": 1}',
        "orders",
        1,
        60.0,
    )
    assert len(message.id) == 16
    assert message.received_s == asyncio.get_running_loop().time()


async def test_without_a_lease_it_is_nsqds_own(bench: Bench) -> None:
    bench.consumer(lease_s=None).start()
    await bench.publish()
    assert bench.messages[0].lease_s == 60.0


async def test_a_finished_message_is_gone(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish()
    assert bench.messages[0].finish()
    await bench.settle(3600)
    assert bench.attempts == [1]


async def test_a_delay_is_rounded_up_to_milliseconds(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish()
    assert bench.messages[0].requeue(0.0101)
    await bench.settle(0.0109)
    assert bench.attempts == [1]
    await bench.settle(0.0002)
    assert bench.attempts == [1, 2]


async def test_a_message_is_answered_once(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish()
    (message,) = bench.messages
    message.finish()
    for answer in (message.finish, lambda: message.requeue(1)):
        with pytest.raises(RuntimeError, match="already finished or requeued"):
            answer()


async def test_an_answer_after_the_lease_is_a_settle_failure(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish()
    await bench.settle(61)
    first, second = bench.messages
    second.finish()
    assert first.requeue(0)
    assert bench.failures == ["REQ"]


async def test_touch_starts_the_lease_anew(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish()
    await bench.settle(50)
    assert bench.messages[0].touch()
    await bench.settle(50)
    assert bench.attempts == [1]
    await bench.settle(11)
    assert bench.attempts == [1, 2]


async def test_rdy_bounds_what_is_in_flight(bench: Bench) -> None:
    bench.consumer(max_in_flight=2).start()
    for _ in range(3):
        await bench.publish()
    assert bench.attempts == [1, 1]
    bench.messages[0].finish()
    await bench.settle()
    assert bench.attempts == [1, 1, 1]


async def test_every_topic_gets_something(bench: Bench) -> None:
    bench.consumer("orders", "orders.stock.retry", max_in_flight=1).start()
    await bench.publish()
    await bench.publish("orders.stock.retry")
    assert [message.topic for message in bench.messages] == ["orders", "orders.stock.retry"]


async def test_a_pause_holds_everything_back(bench: Bench) -> None:
    consumer = bench.consumer()
    consumer.start()
    consumer.pause()
    bench.broker.drop_connections()
    await bench.publish()
    assert bench.attempts == []
    consumer.resume()
    await bench.settle()
    assert bench.attempts == [1]


async def test_a_trial_takes_one_message_in_total_of_each_topic_in_turn(bench: Bench) -> None:
    topics = ("orders", "orders.stock.retry")
    consumer = bench.consumer(*topics)
    consumer.start()
    await bench.publish()
    consumer.pause()
    for topic in topics * 2:
        await bench.publish(topic)
    assert len(bench.messages) == 1
    consumer.trial()
    consumer.trial()
    await bench.settle()
    assert len(bench.messages) == 2
    bench.messages[1].finish()
    bench.messages[0].finish()
    await bench.settle()
    assert len(bench.messages) == 2
    consumer.trial()
    await bench.settle()
    assert sorted(message.topic for message in bench.messages[1:]) == sorted(topics)


async def test_a_trial_waits_for_a_message_survives_a_lost_connection_and_ends(bench: Bench) -> None:
    consumer = bench.consumer()
    consumer.start()
    consumer.trial()
    bench.broker.drop_connections()
    await bench.publish()
    await bench.publish()
    assert bench.attempts == [1]
    bench.broker.drop_connections()
    await bench.settle()
    assert bench.attempts == [1], "it is used"
    consumer.trial()
    consumer.pause()
    await bench.settle()
    assert bench.attempts == [1]
    consumer.trial()
    await consumer.stop_intake()
    await bench.publish()
    assert bench.attempts == [1]


async def test_max_in_flight_can_be_lowered_and_raised(bench: Bench) -> None:
    consumer = bench.consumer()
    consumer.start()
    consumer.set_max_in_flight(0)
    await bench.publish()
    await bench.publish()
    consumer.trial()
    await bench.settle()
    assert bench.attempts == []
    consumer.resume()
    consumer.set_max_in_flight(1)
    await bench.settle()
    assert bench.attempts == [1]
    consumer.set_max_in_flight(2)
    await bench.settle()
    assert bench.attempts == [1, 1]


async def test_after_a_lost_connection_answers_are_lost_and_the_lease_runs_on(bench: Bench) -> None:
    bench.consumer().start()
    await bench.publish()
    bench.broker.drop_connections()
    (message,) = bench.messages
    assert not message.finish()
    assert not message.touch()
    await bench.settle(59.9)
    assert bench.attempts == [1]
    await bench.settle(0.1)
    assert bench.attempts == [1, 2]


async def test_after_cls_nothing_comes_and_answers_still_count(bench: Bench) -> None:
    consumer = bench.consumer()
    consumer.start()
    await bench.publish()
    await consumer.stop_intake()
    await bench.publish()
    assert bench.attempts == [1]
    assert bench.messages[0].finish()
    await consumer.close(1.0)
    await consumer.close(1.0)


@pytest.mark.parametrize(
    ("topic", "body", "defer_s", "reason"),
    [
        pytest.param("or ders", b"{}", 0.0, "topic name", id="a name that is none"),
        pytest.param("orders", b"", 0.0, "1 to 1048576 bytes, not 0", id="no body"),
        pytest.param("orders", b"x" * 1048577, 0.0, "not 1048577", id="a body too long"),
        pytest.param("orders", b"{}", 3600.1, r"not in 0\.\.3600", id="a deferral too long"),
        pytest.param("orders", b"{}", -1.0, r"not in 0\.\.3600", id="a deferral into the past"),
    ],
)
async def test_what_nsqd_would_refuse_is_refused_for_good(
    bench: Bench, topic: str, body: bytes, defer_s: float, reason: str
) -> None:
    with pytest.raises(PublishError, match=reason) as caught:
        await bench.publish(topic, body, defer_s=defer_s)
    assert caught.value.permanent
