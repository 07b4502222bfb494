"""A route pauses at its limit and resumes well below it."""

from typing import Any

import pytest

from nsqkit.policy.depth_limit import DepthLimit, depth_in

LIMIT = DepthLimit(100)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        pytest.param(LIMIT, False, id="nothing is known yet"),
        pytest.param(LIMIT.looked(99), False, id="below the limit"),
        pytest.param(LIMIT.looked(100), True, id="at the limit"),
        pytest.param(LIMIT.looked(100).looked(81), True, id="a little below, it stays paused"),
        pytest.param(LIMIT.looked(100).looked(80), False, id="at four fifths it resumes"),
        pytest.param(LIMIT.looked(60).published(39), False, id="what was published since counts"),
        pytest.param(LIMIT.looked(60).published(20).published(20), True, id="and adds up"),
        pytest.param(LIMIT.looked(60).published(50).looked(20), False, id="until the next look"),
    ],
)
def test_the_limit_is_reached(limit: DepthLimit, *, expected: bool) -> None:
    assert limit.is_reached is expected


def _topic(name: str, depth: int, *channels: int) -> dict[str, Any]:
    return {"topic_name": name, "depth": depth, "channels": [{"depth": each} for each in channels]}


@pytest.mark.parametrize(
    ("topics", "expected"),
    [
        pytest.param([_topic("orders", 5, 2, 7)], 12, id="the topic and its deepest channel"),
        pytest.param([_topic("orders", 5)], 5, id="a topic without a channel"),
        pytest.param([_topic("others", 5)], 0, id="another topic"),
        pytest.param(None, 0, id="nsqd without topics"),
    ],
)
def test_the_depth_of_a_topic(topics: list[dict[str, Any]] | None, expected: int) -> None:
    assert depth_in({"topics": topics}, "orders") == expected
