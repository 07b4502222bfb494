"""Publish counts: each message counts once, under a topic of an event or as one of the others."""

import sys
from dataclasses import dataclass
from threading import Thread

from nsqkit import event
from nsqkit.handler.publish_counts import OTHER_TOPIC, PublishOutcome, count_published, published

CONFIRMED, FAILED = PublishOutcome.CONFIRMED, PublishOutcome.FAILED


@event("published.counted", version=1, topic="published.counted")
@dataclass
class Counted:
    n: int = 0


def since(before: dict[tuple[str, PublishOutcome], int]) -> dict[tuple[str, PublishOutcome], int]:
    return {
        key: count - before.get(key, 0) for key, count in published().items() if count != before.get(key, 0)
    }


def test_a_message_counts_by_topic_and_outcome() -> None:
    before = published()
    count_published("published.counted", None)
    count_published("published.counted", None, 3)
    count_published("published.counted", OSError("away"), 2)
    assert since(before) == {("published.counted", CONFIRMED): 4, ("published.counted", FAILED): 2}


def test_topics_that_no_event_has_are_counted_together() -> None:
    before = published()
    for number in range(1000):
        count_published(f"published.anything.{number}", None)
    assert since(before) == {(OTHER_TOPIC, CONFIRMED): 1000}


def test_every_outcome_of_a_topic_is_there_at_zero() -> None:
    @event("published.fresh", version=1, topic="published.fresh")
    @dataclass
    class Fresh:
        n: int = 0

    assert ("published.fresh", CONFIRMED) not in published()
    count_published("published.fresh", None)
    assert published()["published.fresh", FAILED] == 0


def test_publishers_in_several_threads_lose_no_count() -> None:
    before, interval_s = published(), sys.getswitchinterval()

    def publish() -> None:
        for _ in range(10_000):
            count_published("published.counted", None)

    threads = [Thread(target=publish) for _ in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval_s)
    assert since(before) == {("published.counted", CONFIRMED): 40_000}
