"""Stalls of one handler: logged, counted and shown once each; the rule itself is in test_stall.py."""

from typing import Any

import pytest

from nsqkit.policy.stall import ChannelCounts, Room
from nsqkit.telemetry.metrics import Metrics
from nsqkit.worker.stalls import Stalls
from tests.unit.runtime.bench import RecordingLog

TOPICS = ("orders", "orders.stock.retry")
FULL, EMPTY = ChannelCounts(5, 0, 0, is_paused=False), ChannelCounts(0, 5, 0, is_paused=False)


class Desk:
    """A handler's stalls, with a clock and a consumer that the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.connections: dict[tuple[str, str], Room] = {}
        self.metrics = Metrics()
        self.log = RecordingLog()
        meter = self.metrics.for_handler("orders", "stock", "Stock")
        consumer: Any = self
        self.stalls = Stalls(consumer, TOPICS, "stock", meter=meter, log=self.log, now_s=lambda: self.now_s)

    def rooms(self) -> dict[tuple[str, str], Room]:
        return self.connections

    def connect(self, nsqd: str, topic: str = "orders") -> None:
        self.connections[nsqd, topic] = Room(object(), received=0, free=1)

    def poll(self, counts: ChannelCounts | None, *nsqd: str, topic: str = "orders") -> None:
        """Let 40 s pass, and take what these nsqd say."""
        self.now_s += 40.0
        self.stalls.polled({each: {(topic, "stock"): counts} if counts else {} for each in nsqd})

    def names(self) -> tuple[str, ...]:
        return self.stalls.names

    @property
    def events(self) -> list[str]:
        return [event for _, event, _ in self.log.lines]

    @property
    def count(self) -> float | None:
        labels = {"topic": "orders", "channel": "stock", "handler": "Stock"}
        return self.metrics.registry.get_sample_value("nsqkit_stalls_total", labels)


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.connect("a:4151")
    desk.connect("b:4151")
    return desk


def test_a_stall_is_logged_counted_and_shown_once_until_it_is_over(desk: Desk) -> None:
    for _ in range(2):
        desk.poll(FULL, "a:4151")
    assert (desk.events, desk.count, desk.names()) == ([], 0, ())
    for _ in range(3):
        desk.poll(FULL, "a:4151")
    assert desk.count == 1
    assert desk.names() == ("a:4151 orders/stock",)
    ((level, event, fields),) = desk.log.lines
    assert (level, event) == ("warning", "delivery_stalled")
    expected = {"nsqd": "a:4151", "topic": "orders", "depth": 5, "stalled_s": 80}
    assert {name: fields[name] for name in expected} == expected
    desk.poll(EMPTY, "a:4151")
    assert desk.events == ["delivery_stalled", "stall_over"]
    assert desk.names() == ()
    assert desk.count == 1


def test_a_second_stall_counts_again(desk: Desk) -> None:
    for _ in range(2):
        for _ in range(3):
            desk.poll(FULL, "a:4151")
        desk.poll(EMPTY, "a:4151")
    assert desk.count == 2


def test_each_nsqd_and_each_topic_of_the_handler_is_looked_at(desk: Desk) -> None:
    desk.connect("a:4151", "orders.stock.retry")
    for _ in range(6):
        desk.poll(FULL, "b:4151")
        desk.poll(FULL, "a:4151", topic="orders.stock.retry")
    assert desk.names() == ("a:4151 orders.stock.retry/stock", "b:4151 orders/stock")
    assert desk.count == 2


def test_an_nsqd_that_does_not_answer_changes_nothing(desk: Desk) -> None:
    desk.poll(FULL, "a:4151")
    desk.poll(None)
    desk.poll(FULL, "a:4151")
    assert desk.names() == ("a:4151 orders/stock",)
    desk.poll(None)
    assert desk.names() == ("a:4151 orders/stock",)


@pytest.mark.parametrize("polled", [("a:4151",), ("b:4151",)], ids=["it answers", "it does not"])
def test_without_a_subscription_a_stall_is_over(desk: Desk, polled: tuple[str, ...]) -> None:
    for _ in range(3):
        desk.poll(FULL, "a:4151")
    del desk.connections["a:4151", "orders"]
    desk.poll(FULL, *polled)
    assert (desk.events, desk.names()) == (["delivery_stalled", "stall_over"], ())


def test_without_the_channel_a_stall_is_over(desk: Desk) -> None:
    for _ in range(3):
        desk.poll(FULL, "a:4151")
    desk.poll(None, "a:4151")
    assert desk.names() == ()


def test_a_wait_that_ends_in_time_is_never_mentioned(desk: Desk) -> None:
    for _ in range(5):
        desk.poll(FULL, "a:4151")
        desk.poll(EMPTY, "a:4151")
    assert (desk.events, desk.count) == ([], 0)
