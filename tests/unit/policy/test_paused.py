"""Paused: what nsqd's statistics say about the topics and channels of a worker."""

from typing import Any

import pytest

from nsqkit.policy.paused import Paused, paused_in

SUBSCRIBED = (("orders", "stock"), ("orders", "mail"), ("bills", "stock"))


def stats(topic: str, *, paused: bool = False, **channels: bool) -> dict[str, Any]:
    return {
        "topic_name": topic,
        "paused": paused,
        "channels": [{"channel_name": name, "paused": is_paused} for name, is_paused in channels.items()],
    }


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        pytest.param(None, set(), id="no topic at all"),
        pytest.param([stats("orders", stock=False, mail=False)], set(), id="nothing is paused"),
        pytest.param([stats("orders", stock=True, mail=False)], {Paused("orders", "stock")}, id="a channel"),
        pytest.param([stats("orders", paused=True, stock=False)], {Paused("orders")}, id="a topic"),
        pytest.param(
            [stats("orders", stock=True), stats("bills", paused=True, stock=True)],
            {Paused("orders", "stock"), Paused("bills"), Paused("bills", "stock")},
            id="several",
        ),
        pytest.param(
            [stats("orders", audit=True), stats("others", paused=True, stock=True)],
            set(),
            id="what the worker does not consume is left out",
        ),
    ],
)
def test_what_is_paused(topics: list[dict[str, Any]] | None, expected: set[Paused]) -> None:
    assert paused_in({"topics": topics}, SUBSCRIBED) == expected


@pytest.mark.parametrize(
    "other", [{}, {"topics": [{}]}, {"topics": [5]}, {"topics": 5}, {"topics": [{"topic_name": "orders"}]}]
)
def test_other_forms_are_refused(other: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError)):
        paused_in(other, SUBSCRIBED)


@pytest.mark.parametrize(
    ("paused", "stops"),
    [
        pytest.param(Paused("orders", "stock"), True, id="its channel"),
        pytest.param(Paused("orders"), True, id="its topic"),
        pytest.param(Paused("orders.stock.retry", "stock"), True, id="its other topic"),
        pytest.param(Paused("orders", "mail"), False, id="another channel"),
        pytest.param(Paused("bills", "stock"), False, id="another topic"),
    ],
)
def test_which_handlers_it_stops(paused: Paused, *, stops: bool) -> None:
    assert paused.stops(("orders", "orders.stock.retry"), "stock") == stops


def test_its_name() -> None:
    assert [Paused("orders").name, Paused("orders", "stock").name] == ["orders", "orders/stock"]
