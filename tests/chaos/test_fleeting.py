"""A deleted topic that comes back by itself is found."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.chaos import fleeting
from tests.chaos.fleeting import delete_and_publish
from tests.chaos.orders import FLEETING


class FakeNode:
    """An nsqd that has the topic until it is deleted, and perhaps afterwards."""

    name = http_address = "nsqd-a"

    def __init__(self, *, keeps: bool) -> None:
        self.has_it = True
        self._keeps = keeps

    def undisturbed(self) -> asyncio.Lock:
        return asyncio.Lock()

    async def topics(self) -> list[dict[str, Any]]:
        counts = {"depth": 0, "in_flight_count": 0, "deferred_count": 0, "client_count": 2}
        return [{"topic_name": FLEETING, "depth": 0, "channels": [counts]}] if self.has_it else []

    def delete(self) -> None:
        self.has_it = self._keeps


class FakeCluster:
    lookupd = "nsqlookupd"

    def __init__(self, node: FakeNode) -> None:
        self.nodes = [node]


class FakeBursts:
    def __init__(self) -> None:
        self.published: list[Mapping[str, int]] = []

    async def publish(self, _node: FakeNode, counts: Mapping[str, int]) -> None:
        self.published.append(counts)


@pytest.mark.parametrize(
    ("keeps", "findings"),
    [
        pytest.param(False, [], id="it stays away"),
        pytest.param(
            True, ["the deleted topic came back on nsqd-a before anybody published"], id="it comes back"
        ),
    ],
)
async def test_a_topic_that_comes_back_is_found(
    monkeypatch: pytest.MonkeyPatch, *, keeps: bool, findings: list[str]
) -> None:
    node, bursts, asked = FakeNode(keeps=keeps), FakeBursts(), list[str]()

    async def fetch(address: str, path: str, **_: str) -> None:
        asked.append(f"{address}{path}")
        if address == node.name:
            node.delete()

    monkeypatch.setattr(fleeting, "fetch", fetch)
    monkeypatch.setattr(fleeting, "_AWAY_S", 0.0)
    fakes: tuple[Any, Any] = FakeCluster(node), bursts
    assert list(await delete_and_publish(*fakes, 2)) == findings
    assert asked == ["nsqlookupd/topic/delete", "nsqd-a/topic/delete"], "as nsqadmin does it"
    assert len(bursts.published) == 2, "before and after"
