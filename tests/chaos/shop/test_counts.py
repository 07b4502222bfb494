"""Counts: which of them must agree."""

from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.chaos.shop import counts
from tests.chaos.shop.counts import Channel, Counts

CHARGE = ("shop.charge", "payments", "ChargeOrder")
RIGHT = Counts(
    events={"shop.charge": 10},
    inboxes={CHARGE: 10},
    outcomes={CHARGE: {"success": 9, "discard": 1, "requeue": 3}},
    topics={"shop.charge": 10},
    channels={CHARGE[:2]: Channel(messages=10, requeues=3, timeouts=0)},
    shown=(),
)


def test_counts_that_agree_have_no_problems() -> None:
    assert list(RIGHT.problems()) == []
    assert RIGHT.requeues == (3, 3)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        pytest.param(
            {"events": {"shop.charge": 11}},
            "shop.charge: 11 events in the outboxes, 10 messages in nsqd",
            id="an event that nsqd does not have",
        ),
        pytest.param(
            {"topics": {"shop.charge": 10, "other": 1}},
            "other: 0 events in the outboxes, 1 messages in nsqd",
            id="a message that no outbox has",
        ),
        pytest.param(
            {"channels": {CHARGE[:2]: Channel(10, 4, 0)}},
            "shop.charge/payments/ChargeOrder: the monitor has Channel(messages=10, requeues=3, timeouts=0), "
            "nsqd Channel(messages=10, requeues=4, timeouts=0)",
            id="a requeue that no monitor has",
        ),
        pytest.param(
            {"channels": {CHARGE[:2]: Channel(10, 3, 1)}},
            "shop.charge/payments/ChargeOrder: the monitor has Channel(messages=10, requeues=3, timeouts=0), "
            "nsqd Channel(messages=10, requeues=3, timeouts=1)",
            id="a message without an answer",
        ),
        pytest.param(
            {"channels": {}},
            "shop.charge/payments/ChargeOrder: the monitor has Channel(messages=10, requeues=3, timeouts=0), "
            "nsqd Channel(messages=0, requeues=0, timeouts=0)",
            id="a channel that nsqd does not have",
        ),
        pytest.param(
            {"inboxes": {CHARGE: 9}},
            "shop.charge/payments/ChargeOrder: 10 on the monitor, 9 in the inbox",
            id="an effect that is not in the database",
        ),
        pytest.param(
            {"outcomes": {}},
            "shop.charge/payments/ChargeOrder has rows in an inbox, and is on no monitor",
            id="a handler without a monitor",
        ),
        pytest.param({"shown": ("a dead letter",)}, "a dead letter", id="what a page shows"),
    ],
)
def test_what_does_not_agree_is_named(changes: dict[str, Any], problem: str) -> None:
    assert problem in list(replace(RIGHT, **changes).problems())


_LABELS = 'topic="shop.charge",channel="payments",handler="ChargeOrder"'
METRICS = f"""
# TYPE nsqkit_messages_processed counter
nsqkit_messages_processed_total{{{_LABELS},outcome="success"}} 10
nsqkit_messages_processed_total{{{_LABELS},outcome="requeue"}} 3
"""
ROW = {"name": "ChargeOrder", "depth": 0, "dead": 1, "other_workers": [], "nsqd_counts": None}
PAGE = {"service": {"name": "payments"}, "handlers": [ROW]}
STATS = {
    "topics": [
        {
            "topic_name": "shop.charge",
            "message_count": 10,
            "channels": [
                {"channel_name": "payments", "message_count": 10, "requeue_count": 3, "timeout_count": 0}
            ],
        }
    ]
}


async def test_counts_are_read_from_the_monitors_and_from_nsqd() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            return httpx.Response(200, text=METRICS)
        return httpx.Response(200, json=PAGE)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        found = await counts.read(
            http, ["http://payments"], STATS, events={"shop.charge": 10}, inboxes={CHARGE: 10}
        )
    assert found.requeues == (3, 3)
    assert list(found.problems()) == ["the page of payments shows for ChargeOrder: dead 1"]
