"""Stalls: messages wait, this worker has room, and for a minute nobody receives one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.policy.stall import STALLED_S, ChannelCounts, Room, Wait, channel_counts, wait_after

ORDERS = ("orders", "stock")
ONE, OTHER = object(), object()  # connections


def counts(depth: int = 5, left: int = 10, returned: int = 0, *, is_paused: bool = False) -> ChannelCounts:
    return ChannelCounts(depth, left, returned, is_paused)


def room(free: int = 1, received: int = 10, subscription: object = ONE) -> Room:
    return Room(subscription, received, free)


WAITING = Wait(100.0, counts(), room())


@pytest.mark.parametrize(
    ("seen", "own", "since_s"),
    [
        pytest.param(counts(), room(), 100.0, id="nothing has changed: it goes on"),
        pytest.param(counts(depth=9), room(), 100.0, id="more was published: it goes on"),
        pytest.param(counts(), room(free=7), 100.0, id="there is more room: it goes on"),
        pytest.param(counts(left=11), room(), 150.0, id="another consumer received one: it begins again"),
        pytest.param(counts(depth=4, left=11), room(received=11), 150.0, id="one arrived here"),
        pytest.param(counts(returned=1), room(), 150.0, id="another consumer received one and requeued it"),
        pytest.param(counts(left=9, returned=1), room(), 150.0, id="another consumer's message came back"),
        pytest.param(counts(left=-5), room(), 150.0, id="nsqd has restarted"),
        pytest.param(counts(), room(subscription=OTHER), 150.0, id="the worker has connected again"),
        pytest.param(counts(depth=0), room(), None, id="no message waits"),
        pytest.param(counts(), room(free=0), None, id="all slots are taken, or RDY is 0"),
        pytest.param(counts(), room(free=-3), None, id="more in flight than RDY"),
        pytest.param(counts(is_paused=True), room(), None, id="an operator has paused it"),
        pytest.param(counts(), None, None, id="there is no subscription"),
    ],
)
def test_a_wait_goes_on_begins_again_or_is_over(
    seen: ChannelCounts, own: Room | None, since_s: float | None
) -> None:
    after = wait_after(WAITING, seen, own, now_s=150.0)
    assert after == (None if since_s is None or own is None else Wait(since_s, seen, own))


@pytest.mark.parametrize(
    ("seen", "own", "is_waiting"),
    [
        pytest.param(counts(), room(), True, id="messages and room"),
        pytest.param(counts(depth=0), room(), False, id="no messages"),
        pytest.param(counts(), room(free=0), False, id="no room"),
    ],
)
def test_a_wait_begins_at_the_first_look(seen: ChannelCounts, own: Room, *, is_waiting: bool) -> None:
    assert wait_after(None, seen, own, now_s=7.0) == (Wait(7.0, seen, own) if is_waiting else None)


@pytest.mark.parametrize(
    ("now_s", "is_stalled"),
    [
        pytest.param(100.0, False, id="at the first look"),
        pytest.param(159.9, False, id="within a minute"),
        pytest.param(160.0, True, id="after a minute"),
    ],
)
def test_a_wait_of_a_minute_is_a_stall(now_s: float, *, is_stalled: bool) -> None:
    assert WAITING.is_stalled(now_s) is is_stalled


@given(
    looks=st.lists(
        st.tuples(
            st.floats(0.1, 100), st.integers(0, 2), st.integers(0, 1), st.integers(0, 1), st.booleans()
        ),
        max_size=20,
    )
)
def test_a_stall_is_only_what_was_the_same_at_every_look_of_a_minute(
    looks: list[tuple[float, int, int, int, bool]],
) -> None:
    wait, now_s, same_since_s, before = None, 0.0, 0.0, None
    for step_s, depth, left, free, is_paused in looks:
        now_s += step_s
        own = Room(ONE, 0, free)
        wait = wait_after(wait, ChannelCounts(depth, left, 0, is_paused), own, now_s=now_s)
        can_wait = bool(depth and free and not is_paused)
        if not can_wait or left != before:
            same_since_s = now_s
        before = left if can_wait else None
        expected = can_wait and now_s - same_since_s >= STALLED_S
        assert (wait is not None and wait.is_stalled(now_s)) is expected


def channel(name: str, *, paused: bool = False, **fields: Any) -> dict[str, Any]:
    now = dict.fromkeys(("depth", "in_flight_count", "deferred_count"), 0)
    so_far = dict.fromkeys(("message_count", "requeue_count", "timeout_count"), 0)
    return {"channel_name": name, "paused": paused, **now, **so_far, **fields}


def topic(name: str, *channels: dict[str, Any], paused: bool = False) -> dict[str, Any]:
    return {"topic_name": name, "paused": paused, "channels": list(channels)}


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        pytest.param(None, {}, id="no topic at all"),
        pytest.param([topic("orders")], {}, id="no channel"),
        pytest.param(
            [topic("orders", channel("audit", depth=5)), topic("bills", channel("stock", depth=5))],
            {},
            id="channels of others",
        ),
        pytest.param(
            [topic("orders", channel("stock", depth=5, deferred_count=2, message_count=20))],
            {ORDERS: counts(5, 13, 0)._replace(deferred=2)},
            id="13 of 20 are in flight or finished",
        ),
        pytest.param(
            [topic("orders", channel("stock", in_flight_count=3, message_count=20))],
            {ORDERS: counts(0, 20, 0)._replace(in_flight=3)},
            id="3 are in flight",
        ),
        pytest.param(
            [topic("orders", channel("stock", requeue_count=3, timeout_count=4))],
            {ORDERS: counts(0, 0, 7)},
            id="7 came back",
        ),
        pytest.param(
            [topic("orders", channel("stock", depth=5, message_count=1))],
            {ORDERS: counts(5, -4, 0)},
            id="those from before a restart are not counted",
        ),
        pytest.param(
            [topic("orders", channel("stock", paused=True))],
            {ORDERS: counts(0, 0, 0, is_paused=True)},
            id="a paused channel",
        ),
        pytest.param(
            [topic("orders", channel("stock"), paused=True)],
            {ORDERS: counts(0, 0, 0, is_paused=True)},
            id="a channel of a paused topic",
        ),
    ],
)
def test_what_an_nsqd_says(
    topics: list[dict[str, Any]] | None, expected: dict[tuple[str, str], ChannelCounts]
) -> None:
    assert channel_counts({"topics": topics}, [ORDERS]) == expected


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"topics": 5},
        {"topics": [5]},
        {"topics": [{"topic_name": "orders"}]},
        {"topics": [topic("orders", {"channel_name": "stock", "paused": False})]},
        {"topics": [topic("orders", channel("stock", depth="5"))]},
        {"topics": [topic("orders", channel("stock", depth=True))]},
        {"topics": [topic("orders", channel("stock", message_count=1.5))]},
        {"topics": [topic("orders", channel("stock", timeout_count=None))]},
    ],
)
def test_other_forms_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError)):
        channel_counts(other, [ORDERS])
