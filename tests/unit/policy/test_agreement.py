"""Agreement: who else reads a channel, and when two counts of the same events are too different."""

from typing import Any

import pytest

from nsqkit.policy.agreement import (
    MOST_NAMES,
    Client,
    Reading,
    channel_reading,
    differs,
    others_of,
    returned_between,
)

OWN = Client("shop-1", "shop-1", "nsqkit/shop")
OTHER = Client("shop-2.example", "shop-2", "nsqkit/shop")
GO = Client("shop-1", "totals", "go-nsq/1.1.0")


@pytest.mark.parametrize(
    ("clients", "workers", "names"),
    [
        pytest.param([OWN], 1, (), id="nobody else"),
        pytest.param([OWN, OTHER], 1, ("shop-2.example",), id="another host"),
        pytest.param([OWN, OTHER, OTHER], 1, ("shop-2.example, 2 times",), id="two on another host"),
        pytest.param([OWN, GO], 1, ("shop-1 (totals)",), id="another program on this host"),
        pytest.param([OWN, OWN, OWN], 2, ("shop-1",), id="another service of this name on this host"),
        pytest.param([OTHER], 1, ("shop-2.example",), id="these workers are not connected yet"),
        pytest.param([Client("", "", "")], 0, ("unknown",), id="one that says nothing"),
    ],
)
def test_others_are_all_but_these_workers(
    clients: list[Client], workers: int, names: tuple[str, ...]
) -> None:
    assert others_of(clients, OWN, workers) == names


def test_of_many_others_a_few_are_named() -> None:
    clients = [Client(f"host-{number}", "", "") for number in range(MOST_NAMES + 3)]
    assert others_of(clients, OWN, 1)[-1] == "3 more"
    assert len(others_of(clients, OWN, 1)) == MOST_NAMES + 1


STATS: dict[str, Any] = {
    "topics": [
        {"topic_name": "other", "channels": None},
        {
            "topic_name": "orders",
            "channels": [
                {"channel_name": "other", "requeue_count": 9, "timeout_count": 9, "clients": []},
                {
                    "channel_name": "pay",
                    "requeue_count": 5,
                    "timeout_count": 2,
                    "clients": [GO._asdict(), {}],
                },
            ],
        },
    ]
}


def test_a_reading_is_of_one_channel() -> None:
    assert channel_reading(STATS, "orders", "pay") == (7, (GO, Client("", "", "")))
    assert channel_reading(STATS, "orders", "missing") is None
    assert channel_reading(STATS, "other", "pay") is None
    assert channel_reading({"topics": None}, "orders", "pay") is None


def test_names_of_clients_are_no_terminal_codes() -> None:
    stats = {"topics": [{"topic_name": "t", "channels": [_channel("\x1b[2J")]}]}
    found = channel_reading(stats, "t", "c")
    assert found is not None
    assert "\x1b" not in found[1][0].hostname


def _channel(hostname: str) -> dict[str, Any]:
    clients = [{"hostname": hostname}]
    return {"channel_name": "c", "requeue_count": 0, "timeout_count": 0, "clients": clients}


@pytest.mark.parametrize(
    ("before", "after", "returned"),
    [
        pytest.param({("a", "t"): 5, ("b", "t"): 1}, {("a", "t"): 9, ("b", "t"): 1}, 4, id="of all nsqd"),
        pytest.param({("a", "t"): 5}, {("a", "t"): 2}, None, id="an nsqd has restarted"),
        pytest.param({("a", "t"): 5}, {("a", "t"): 6, ("b", "t"): 3}, None, id="an nsqd is new"),
        pytest.param({}, {}, None, id="no nsqd has answered"),
    ],
)
def test_returned_between_two_readings(
    before: dict[tuple[str, str], int], after: dict[tuple[str, str], int], returned: int | None
) -> None:
    assert returned_between(Reading(0, before, ()), Reading(30, after, ())) == returned


@pytest.mark.parametrize(
    ("here", "nsqd", "is_different"),
    [
        (0, 0, False),
        (0, 10, False),
        (0, 11, True),
        (1000, 1100, False),
        (1000, 1112, True),
        (1112, 1000, True),
    ],
)
def test_a_difference_is_more_than_the_moments_of_reading(here: int, nsqd: int, is_different: bool) -> None:  # noqa: FBT001
    assert differs(here, nsqd) is is_different
