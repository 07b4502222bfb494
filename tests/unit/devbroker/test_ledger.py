from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nsqkit.devbroker.channel import Channel, SettleError
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.message import Delivery


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Limits(mem_queue_size=3))


def publish(ledger: Ledger, topic: str, *bodies: bytes, now_s: float = 0.0, defer_s: float = 0.0) -> None:
    ledger.publish(topic, bodies, timestamp_ns=7, now_s=now_s, defer_s=defer_s)


def subscribe(ledger: Ledger, topic: str, channel: str, ready: int = 100, now_s: float = 0.0) -> Consumer:
    consumer = ledger.subscribe(topic, channel, now_s=now_s)
    ledger.ready(consumer, ready)
    return consumer


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.copy.message.body for delivery in deliveries]


class TestFanOut:
    def test_every_channel_gets_a_copy_with_attempts_of_its_own(self, ledger: Ledger) -> None:
        a, b = subscribe(ledger, "t", "a"), subscribe(ledger, "t", "b")
        publish(ledger, "t", b"x")
        first, second = ledger.deliveries(now_s=0.0)
        assert (first.consumer, second.consumer) == (a, b)
        assert first.copy.message is second.copy.message
        ledger.requeue(a, first.copy.message.id, 0.0, now_s=0.0)
        assert [d.copy.attempts for d in ledger.deliveries(now_s=0.0)] == [2]
        assert second.copy.attempts == 1

    def test_the_first_channel_takes_the_backlog_and_later_ones_only_what_comes(self, ledger: Ledger) -> None:
        publish(ledger, "t", *(b"%d" % number for number in range(5)))
        assert len(ledger.topics["t"].backlog) == 5
        subscribe(ledger, "t", "a")
        subscribe(ledger, "t", "b")
        assert bodies(ledger.deliveries(now_s=0.0)) == [b"0", b"1", b"2", b"3", b"4"]
        assert not ledger.topics["t"].backlog
        publish(ledger, "t", b"new")
        assert bodies(ledger.deliveries(now_s=0.0)) == [b"new", b"new"]

    def test_a_channel_that_is_only_created_takes_the_backlog_too(self, ledger: Ledger) -> None:
        publish(ledger, "t", b"x")
        assert len(ledger.channel("t", "a", now_s=0.0).queued) == 1

    def test_a_deferral_starts_when_the_channel_gets_its_copy(self, ledger: Ledger) -> None:
        publish(ledger, "t", b"x", defer_s=10.0)
        subscribe(ledger, "t", "a", now_s=100.0)
        assert ledger.next_deadline_s() == 110.0
        assert ledger.expire(now_s=109.999) == 0
        assert ledger.expire(now_s=110.0) == 1
        assert bodies(ledger.deliveries(now_s=110.0)) == [b"x"]

    def test_a_paused_topic_keeps_messages_until_it_is_unpaused(self, ledger: Ledger) -> None:
        subscribe(ledger, "t", "a")
        ledger.pause_topic("t", paused=True, now_s=0.0)
        publish(ledger, "t", b"x")
        assert ledger.deliveries(now_s=0.0) == []
        ledger.pause_topic("t", paused=False, now_s=0.0)
        assert bodies(ledger.deliveries(now_s=0.0)) == [b"x"]

    def test_counts_of_a_topic_are_those_of_its_publishers(self, ledger: Ledger) -> None:
        publish(ledger, "t", b"abc", b"de")
        topic = ledger.topics["t"]
        assert (topic.message_count, topic.message_bytes) == (2, 5)

    def test_ids_are_sixteen_hex_digits_and_differ(self, ledger: Ledger) -> None:
        publish(ledger, "t", b"x", b"y")
        ids = [message.id for message in ledger.topics["t"].backlog]
        assert len(set(ids)) == 2
        assert all(len(message_id) == 16 and int(message_id, 16) for message_id in ids)

    def test_a_message_keeps_its_publishers_timestamp(self, ledger: Ledger) -> None:
        publish(ledger, "t", b"x")
        assert ledger.topics["t"].backlog[0].timestamp_ns == 7


def test_a_channel_is_looked_at_only_when_something_changed(ledger: Ledger) -> None:
    subscribe(ledger, "t", "a")
    publish(ledger, "t", b"x")
    assert ledger._changed
    ledger.deliveries(now_s=0.0)
    assert not ledger._changed


class TestConsumers:
    def test_what_a_gone_consumer_held_waits_for_its_timeout(self, ledger: Ledger) -> None:
        gone = subscribe(ledger, "t", "a")
        publish(ledger, "t", b"x")
        ledger.deliveries(now_s=0.0)
        ledger.unsubscribe(gone)
        subscribe(ledger, "t", "a")
        assert ledger.deliveries(now_s=0.0) == []
        ledger.expire(now_s=60.0)
        assert [d.copy.attempts for d in ledger.deliveries(now_s=60.0)] == [2]
        assert ledger.topics["t"].channels["a"].timeout_count == 1

    def test_after_cls_nothing_is_delivered_ready_is_ignored_and_answers_count(self, ledger: Ledger) -> None:
        consumer = subscribe(ledger, "t", "a", ready=1)
        publish(ledger, "t", b"x", b"y")
        (held,) = ledger.deliveries(now_s=0.0)
        ledger.close(consumer)
        ledger.ready(consumer, 10)
        ledger.touch(consumer, held.copy.message.id, now_s=0.0)
        ledger.finish(consumer, held.copy.message.id)
        assert ledger.deliveries(now_s=0.0) == []
        assert (consumer.ready_count, consumer.closing) == (0, True)

    def test_a_consumer_may_have_a_timeout_of_its_own(self, ledger: Ledger) -> None:
        consumer = ledger.subscribe("t", "a", now_s=0.0, msg_timeout_s=2.0)
        ledger.ready(consumer, 1)
        publish(ledger, "t", b"x")
        ledger.deliveries(now_s=0.0)
        assert ledger.next_deadline_s() == 2.0

    def test_unsubscribing_twice_does_nothing(self, ledger: Ledger) -> None:
        consumer = subscribe(ledger, "t", "a#ephemeral")
        ledger.unsubscribe(consumer)
        subscribe(ledger, "t", "a#ephemeral")
        ledger.unsubscribe(consumer)
        assert "a#ephemeral" in ledger.topics["t"].channels


class TestEphemeral:
    def test_a_channel_goes_with_its_last_consumer(self, ledger: Ledger) -> None:
        first, second = (subscribe(ledger, "t", "c#ephemeral") for _ in range(2))
        publish(ledger, "t", b"x")
        ledger.unsubscribe(first)
        assert ledger.topics["t"].channels
        ledger.unsubscribe(second)
        assert not ledger.topics["t"].channels

    def test_a_topic_goes_with_its_last_channel(self, ledger: Ledger) -> None:
        consumer = subscribe(ledger, "t#ephemeral", "c#ephemeral")
        ledger.unsubscribe(consumer)
        assert ledger.topics == {}

    def test_a_topic_stays_while_it_has_another_channel(self, ledger: Ledger) -> None:
        gone, _ = (subscribe(ledger, "t#ephemeral", f"{name}#ephemeral") for name in "cd")
        ledger.unsubscribe(gone)
        assert list(ledger.topics["t#ephemeral"].channels) == ["d#ephemeral"]

    def test_a_durable_topic_or_channel_stays(self, ledger: Ledger) -> None:
        ledger.unsubscribe(subscribe(ledger, "t", "c#ephemeral"))
        ledger.unsubscribe(subscribe(ledger, "t#ephemeral", "c"))
        assert sorted(ledger.topics) == ["t", "t#ephemeral"]

    def test_a_topic_drops_what_memory_does_not_hold(self, ledger: Ledger) -> None:
        publish(ledger, "t#ephemeral", *(b"%d" % number for number in range(5)))
        topic = ledger.topics["t#ephemeral"]
        assert [message.body for message in topic.backlog] == [b"0", b"1", b"2"]
        assert topic.message_count == 5


class TestDeletion:
    def test_deleting_a_topic_tells_whose_connections_to_close(self, ledger: Ledger) -> None:
        consumers = [subscribe(ledger, "t", channel) for channel in ("a", "b")]
        publish(ledger, "t", b"x")
        ledger.deliveries(now_s=0.0)
        assert list(ledger.delete_topic("t")) == consumers
        assert ledger.topics == {}
        assert ledger.next_deadline_s() is None

    def test_deleting_a_channel_forgets_its_messages(self, ledger: Ledger) -> None:
        consumer = subscribe(ledger, "t", "a")
        publish(ledger, "t", b"x")
        (held,) = ledger.deliveries(now_s=0.0)
        assert ledger.delete_channel("t", "a") == (consumer,)
        assert "t" in ledger.topics
        with pytest.raises(SettleError):
            ledger.finish(consumer, held.copy.message.id)
        ledger.ready(consumer, 5)
        assert ledger.deliveries(now_s=0.0) == []

    def test_emptying_a_topic_leaves_its_channels_alone(self, ledger: Ledger) -> None:
        ledger.channel("t", "a", now_s=0.0)
        publish(ledger, "t", b"x")
        ledger.pause_topic("t", paused=True, now_s=0.0)
        publish(ledger, "t", b"y")
        ledger.empty_topic("t")
        assert not ledger.topics["t"].backlog
        assert len(ledger.topics["t"].channels["a"].queued) == 1


CHANNELS = ("a", "b", "e#ephemeral")


class LedgerMachine(RuleBasedStateMachine):
    """Whatever clients do, every copy is in one place and nsqd's counts add up."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(Limits(msg_timeout_s=5.0, max_msg_timeout_s=12.0, mem_queue_size=10_000))
        self.now_s = 0.0
        self.consumers: list[Consumer] = []
        self.held: list[Delivery] = []
        self.tally: dict[Channel, Counter[str]] = {}

    def count(self, channel: Channel, what: str) -> None:
        self.tally.setdefault(channel, Counter())[what] += 1

    @rule(count=st.integers(1, 4), defer_s=st.sampled_from([0.0, 0.0, 3.0]))
    def publish(self, count: int, defer_s: float) -> None:
        self.ledger.publish("t", [b"x"] * count, timestamp_ns=0, now_s=self.now_s, defer_s=defer_s)

    @precondition(lambda self: len(self.consumers) < 6)
    @rule(channel=st.sampled_from(CHANNELS), ready=st.integers(0, 5))
    def subscribe(self, channel: str, ready: int) -> None:
        consumer = self.ledger.subscribe("t", channel, now_s=self.now_s)
        self.ledger.ready(consumer, ready)
        self.consumers.append(consumer)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data(), ready=st.integers(0, 5))
    def change_ready(self, data: st.DataObject, ready: int) -> None:
        self.ledger.ready(data.draw(st.sampled_from(self.consumers)), ready)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        self.ledger.close(data.draw(st.sampled_from(self.consumers)))

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        consumer = data.draw(st.sampled_from(self.consumers))
        self.consumers.remove(consumer)
        self.ledger.unsubscribe(consumer)

    @rule()
    def deliver(self) -> None:
        for delivery in self.ledger.deliveries(now_s=self.now_s):
            assert delivery.consumer.in_flight_count <= delivery.consumer.ready_count
            self.count(delivery.consumer.channel, "delivered")
            self.held.append(delivery)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["finish", "requeue", "defer", "touch"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        consumer, copy = data.draw(st.sampled_from(self.held))
        holds = copy.consumer is consumer
        try:
            if how == "finish":
                self.ledger.finish(consumer, copy.message.id)
            elif how == "touch":
                self.ledger.touch(consumer, copy.message.id, now_s=self.now_s)
            else:
                delay_s = 2.0 if how == "defer" else 0.0
                self.ledger.requeue(consumer, copy.message.id, delay_s, now_s=self.now_s)
        except SettleError:
            assert not holds
            return
        assert holds
        self.count(consumer.channel, {"defer": "requeue"}.get(how, how))

    @rule(by_s=st.sampled_from([0.5, 2.0, 6.0]))
    def advance(self, by_s: float) -> None:
        self.now_s += by_s
        for channel in self.channels():
            for copy in channel.in_flight.values():
                if self.deadline_s(copy.timer) <= self.now_s:
                    self.count(channel, "timeout")
        self.ledger.expire(now_s=self.now_s)

    @rule(data=st.data(), paused=st.booleans())
    def pause(self, data: st.DataObject, paused: bool) -> None:  # noqa: FBT001
        channels = self.channels()
        if channels:
            data.draw(st.sampled_from(channels)).pause(paused=paused)

    def channels(self) -> list[Channel]:
        topic = self.ledger.topics.get("t")
        return list(topic.channels.values()) if topic else []

    def deadline_s(self, timer: int) -> float:
        return next(entry[0] for entry in self.ledger._timers._heap if entry[1] == timer)

    @invariant()
    def every_copy_is_in_one_place(self) -> None:
        for channel in self.channels():
            places = [
                *(copy.message.id for copy in channel.queued),
                *channel.in_flight,
                *channel.deferred,
            ]
            assert len(places) == len(set(places))
            finished = self.tally.get(channel, Counter())["finish"]
            assert channel.message_count == len(places) + finished

    @invariant()
    def counts_reconcile(self) -> None:
        for channel in self.channels():
            tally = self.tally.get(channel, Counter())
            assert channel.requeue_count == tally["requeue"]
            assert channel.timeout_count == tally["timeout"]
            ended = tally["finish"] + tally["requeue"] + tally["timeout"]
            assert tally["delivered"] == ended + len(channel.in_flight)

    @invariant()
    def consumers_hold_what_is_in_flight_to_them(self) -> None:
        for channel in self.channels():
            for consumer in channel.consumers:
                held = [copy for copy in channel.in_flight.values() if copy.consumer is consumer]
                assert consumer.in_flight_count == len(held)

    @invariant()
    def every_timed_copy_has_a_deadline_that_has_not_passed(self) -> None:
        timed = [
            c
            for channel in self.channels()
            for c in (*channel.in_flight.values(), *channel.deferred.values())
        ]
        assert all(self.deadline_s(copy.timer) > self.now_s for copy in timed)
        assert (self.ledger.next_deadline_s() is None) == (not timed)

    @invariant()
    def the_backlog_waits_only_while_there_is_no_channel(self) -> None:
        topic = self.ledger.topics.get("t")
        assert topic is None or not (topic.backlog and topic.channels)


LedgerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLedgerProperties = LedgerMachine.TestCase
