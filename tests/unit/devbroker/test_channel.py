import pytest

from nsqkit.devbroker.channel import Channel, SettleError
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Copy, Delivery, Message
from nsqkit.devbroker.timers import Timers

LIMITS = Limits(msg_timeout_s=60.0, max_msg_timeout_s=100.0, max_req_timeout_s=3600.0, mem_queue_size=3)


class Bench:
    """A channel with a clock that the test sets, as a ledger drives it."""

    def __init__(self, name: str = "c") -> None:
        self.timers = Timers()
        self.changed: dict[Channel, None] = {}
        self.channel = Channel("t", name, LIMITS, self.timers, self.changed)
        self.now_s = 0.0
        self.drawn = 0

    def put(self, *names: str, defer_s: float = 0.0) -> None:
        for name in names:
            self.channel.put(Message(name.encode(), 0, b"body", defer_s), now_s=self.now_s)

    def consumer(self, ready: int = 1, msg_timeout_s: float = 60.0) -> Consumer:
        consumer = Consumer(self.channel, msg_timeout_s)
        self.channel.consumers.append(consumer)
        self.channel.ready(consumer, ready)
        return consumer

    def deliver(self) -> list[Delivery]:
        return list(self.channel.deliver(now_s=self.now_s, draw=lambda: self.drawn))

    def delivered(self) -> list[str]:
        return [delivery.copy.message.id.decode() for delivery in self.deliver()]

    def advance(self, by_s: float) -> None:
        self.now_s += by_s
        while (copy := self.timers.pop_due(self.now_s)) is not None:
            copy.channel.fire(copy)


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestDelivery:
    def test_nothing_is_delivered_before_ready(self, bench: Bench) -> None:
        bench.consumer(ready=0)
        bench.put("a")
        assert bench.deliver() == []

    def test_ready_is_compared_with_what_is_held(self, bench: Bench) -> None:
        consumer = bench.consumer(ready=2)
        bench.put("a", "b", "c", "d")
        assert bench.delivered() == ["a", "b"]
        bench.channel.ready(consumer, 1)
        bench.channel.finish(consumer, b"a")
        assert bench.delivered() == []
        bench.channel.finish(consumer, b"b")
        assert bench.delivered() == ["c"]

    def test_attempts_count_deliveries(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.put("a")
        assert bench.deliver()[0].copy.attempts == 1
        bench.channel.requeue(consumer, b"a", 0.0, now_s=bench.now_s)
        assert bench.channel.queued[0].attempts == 1
        assert bench.deliver()[0].copy.attempts == 2

    def test_attempts_wrap_as_an_uint16_does(self, bench: Bench) -> None:
        bench.consumer()
        bench.put("a")
        bench.channel.queued[0].attempts = 0xFFFF
        assert bench.deliver()[0].copy.attempts == 0

    def test_consumers_take_turns(self, bench: Bench) -> None:
        first, second = bench.consumer(ready=10), bench.consumer(ready=10)
        bench.put(*"abcde")
        assert [d.consumer for d in bench.deliver()] == [first, second, first, second, first]

    def test_the_turn_goes_on_with_the_next_message(self, bench: Bench) -> None:
        consumers = [bench.consumer(ready=10) for _ in range(3)]
        served = []
        for name in "abcdef":
            bench.put(name)
            served += [delivery.consumer for delivery in bench.deliver()]
        assert served == consumers * 2

    def test_a_full_consumer_leaves_its_turn_to_others(self, bench: Bench) -> None:
        full, free = bench.consumer(ready=1), bench.consumer(ready=10)
        bench.put(*"abcd")
        assert [d.consumer for d in bench.deliver()] == [full, free, free, free]

    def test_a_paused_channel_delivers_nothing_and_accepts_answers(self, bench: Bench) -> None:
        consumer = bench.consumer(ready=2)
        bench.put("a")
        bench.deliver()
        bench.channel.pause(paused=True)
        bench.put("b")
        bench.channel.finish(consumer, b"a")
        assert bench.delivered() == []
        bench.channel.pause(paused=False)
        assert bench.delivered() == ["b"]


class TestSettling:
    @pytest.mark.parametrize("settle", ["finish", "requeue", "touch"])
    def test_a_message_nobody_holds_is_refused(self, bench: Bench, settle: str) -> None:
        consumer = bench.consumer()
        with pytest.raises(SettleError, match=r"^ID not in flight$"):
            _settle(bench, settle, consumer, b"x")

    @pytest.mark.parametrize("settle", ["finish", "requeue", "touch"])
    def test_a_message_of_another_consumer_is_refused(self, bench: Bench, settle: str) -> None:
        holder, other = bench.consumer(), bench.consumer(ready=0)
        bench.put("a")
        bench.deliver()
        with pytest.raises(SettleError, match=r"^client does not own message$"):
            _settle(bench, settle, other, b"a")
        bench.channel.finish(holder, b"a")

    def test_finish_ends_it(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.put("a")
        bench.deliver()
        bench.channel.finish(consumer, b"a")
        bench.advance(1000)
        assert bench.delivered() == []
        assert (consumer.finish_count, consumer.in_flight_count) == (1, 0)

    def test_requeue_without_delay_goes_to_the_tail(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.put("a", "b")
        bench.deliver()
        bench.channel.requeue(consumer, b"a", 0.0, now_s=bench.now_s)
        bench.channel.ready(consumer, 9)
        assert bench.delivered() == ["b", "a"]

    def test_requeue_with_delay_is_deferred_for_it(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.put("a")
        bench.deliver()
        bench.channel.requeue(consumer, b"a", 5.0, now_s=bench.now_s)
        assert list(bench.channel.deferred) == [b"a"]
        bench.advance(4.999)
        assert bench.delivered() == []
        bench.advance(0.001)
        assert bench.delivered() == ["a"]
        assert (bench.channel.requeue_count, bench.channel.timeout_count, consumer.requeue_count) == (1, 0, 1)

    def test_a_delay_over_the_limit_is_clamped(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.put("a")
        bench.deliver()
        bench.channel.requeue(consumer, b"a", 1e9, now_s=bench.now_s)
        bench.advance(LIMITS.max_req_timeout_s)
        assert bench.delivered() == ["a"]


class TestTimeout:
    def test_a_held_message_comes_back_after_its_consumers_timeout(self, bench: Bench) -> None:
        consumer = bench.consumer(msg_timeout_s=2.0)
        bench.put("a")
        bench.deliver()
        bench.advance(1.999)
        assert bench.delivered() == []
        bench.advance(0.001)
        assert consumer.in_flight_count == 0
        assert bench.deliver()[0].copy.attempts == 2
        assert (bench.channel.timeout_count, bench.channel.requeue_count) == (1, 0)

    def test_touch_starts_it_anew(self, bench: Bench) -> None:
        consumer = bench.consumer(msg_timeout_s=10.0)
        bench.put("a")
        bench.deliver()
        bench.advance(9.0)
        bench.channel.touch(consumer, b"a", now_s=bench.now_s)
        bench.advance(9.999)
        assert bench.channel.timeout_count == 0
        bench.advance(0.001)
        assert bench.channel.timeout_count == 1

    def test_touch_reaches_no_further_than_the_cap(self, bench: Bench) -> None:
        consumer = bench.consumer(msg_timeout_s=60.0)
        bench.put("a")
        bench.deliver()
        for _ in range(2):
            bench.advance(49.0)
            bench.channel.touch(consumer, b"a", now_s=bench.now_s)
        bench.advance(1.999)
        assert bench.channel.timeout_count == 0
        bench.advance(0.001)
        assert bench.channel.timeout_count == 1

    def test_an_answer_to_the_first_delivery_settles_the_second(self, bench: Bench) -> None:
        consumer = bench.consumer(msg_timeout_s=1.0)
        bench.put("a")
        bench.deliver()
        bench.advance(1.0)
        bench.deliver()
        bench.channel.finish(consumer, b"a")
        with pytest.raises(SettleError):
            bench.channel.finish(consumer, b"a")


class TestContents:
    def test_a_deferred_message_waits_from_its_arrival(self, bench: Bench) -> None:
        bench.consumer()
        bench.advance(100.0)
        bench.put("a", defer_s=2.0)
        bench.advance(1.999)
        assert bench.delivered() == []
        bench.advance(0.001)
        assert bench.deliver()[0].copy.attempts == 1

    def test_empty_forgets_what_is_queued_held_and_deferred(self, bench: Bench) -> None:
        consumer = bench.consumer()
        bench.put("held", "queued")
        bench.put("deferred", defer_s=1.0)
        bench.deliver()
        bench.channel.empty()
        bench.advance(1000.0)
        assert bench.delivered() == []
        assert consumer.in_flight_count == 0
        assert bench.channel.timeout_count == 0
        with pytest.raises(SettleError, match="not in flight"):
            bench.channel.finish(consumer, b"held")

    def test_an_ephemeral_channel_drops_what_memory_does_not_hold(self) -> None:
        bench = Bench("c#ephemeral")
        bench.put(*"abcd")
        assert [copy.message.id for copy in bench.channel.queued] == [b"a", b"b", b"c"]
        assert bench.channel.message_count == 4


class TestTimers:
    def test_stopped_timers_do_not_pile_up(self) -> None:
        timers = Timers()
        channel = Bench().channel
        for number in range(10_000):
            copy = Copy(Message(b"", 0, b"", 0.0), channel)
            timers.start(copy, float(number))
            timers.stop(copy)
        assert len(timers._heap) < 2000
        assert timers.next_deadline_s() is None

    def test_moved_timers_do_not_pile_up(self) -> None:
        timers = Timers()
        copy = Copy(Message(b"", 0, b"", 0.0), Bench().channel)
        for number in range(10_000):
            timers.start(copy, float(number))
        assert len(timers._heap) < 2000
        assert timers.next_deadline_s() == 9999.0

    def test_a_moved_deadline_counts_once(self) -> None:
        timers = Timers()
        copy = Copy(Message(b"", 0, b"", 0.0), Bench().channel)
        for deadline_s in (3.0, 1.0, 2.0):
            timers.start(copy, deadline_s)
        assert timers.next_deadline_s() == 2.0
        assert timers.pop_due(9.0) is copy
        assert timers.pop_due(9.0) is None


def _settle(bench: Bench, settle: str, consumer: Consumer, message_id: bytes) -> None:
    match settle:
        case "finish":
            bench.channel.finish(consumer, message_id)
        case "requeue":
            bench.channel.requeue(consumer, message_id, 0.0, now_s=bench.now_s)
        case _:
            bench.channel.touch(consumer, message_id, now_s=bench.now_s)


class TestSampling:
    def test_a_consumer_that_takes_a_sample_loses_the_rest_for_the_channel(self, bench: Bench) -> None:
        consumer = bench.consumer(ready=10)
        consumer.sample_rate = 20
        bench.put("a", "b", "c")
        draws = iter([20, 21, 0])
        delivered = list(bench.channel.deliver(now_s=0.0, draw=lambda: next(draws)))
        assert [delivery.copy.message.id for delivery in delivered] == [b"a", b"c"]
        assert (len(bench.channel.queued), len(bench.channel.in_flight)) == (0, 2)
        assert (bench.channel.message_count, consumer.message_count) == (3, 2)

    def test_one_that_takes_all_draws_nothing(self, bench: Bench) -> None:
        bench.consumer(ready=10)
        bench.put("a")
        bench.drawn = 99
        assert bench.delivered() == ["a"]


class TestBlocking:
    def test_a_consumer_that_is_blocked_gets_nothing(self, bench: Bench) -> None:
        blocked, free = bench.consumer(ready=10), bench.consumer(ready=1)
        blocked.blocked = True
        bench.put("a", "b")
        assert [d.consumer for d in bench.deliver()] == [free]
        assert len(bench.channel.queued) == 1

    def test_one_that_is_blocked_by_what_it_gets_gets_no_more(self, bench: Bench) -> None:
        consumer = bench.consumer(ready=10)
        bench.put("a", "b")
        for delivery in bench.channel.deliver(now_s=0.0, draw=lambda: 0):
            delivery.consumer.blocked = True
        assert (consumer.in_flight_count, len(bench.channel.queued)) == (1, 1)
