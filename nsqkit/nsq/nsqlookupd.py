"""Client of one nsqlookupd's HTTP port. It does not retry."""

from collections.abc import Callable, Iterable
from typing import Any

from nsqkit.nsq.http import fetch, fetch_json, listed
from nsqkit.policy.names import channel_problem, topic_problem


class NsqlookupdHttp:
    """Client of one nsqlookupd's HTTP port.

    Every method raises ConnectionLostError without a valid response, and RefusedError after an error
    response.

    Args:
        address: ``host:port`` of the HTTP port; an IPv6 host in brackets.
        timeout_s: Time limit of one request, in seconds above 0.

    Source:
        nsqlookupd/http.go.
    """

    def __init__(self, address: str, timeout_s: float = 2.0) -> None:
        self.address = address
        self._timeout_s = timeout_s

    async def topics(self) -> frozenset[str]:
        """Return all topics that it knows, also those without an nsqd."""
        return await self._get("topics", "/topics", _topics)

    async def topics_of_nodes(self) -> frozenset[str]:
        """Return the topics that at least one nsqd has."""
        return await self._get("producers", "/nodes", _topics_of_nodes)

    async def channels(self, topic: str) -> frozenset[str]:
        """Return the channels that it knows of a topic; none if it does not know the topic."""
        return await self._get("channels", "/channels", _channels, topic=topic)

    async def create_channel(self, topic: str, channel: str) -> None:
        """Register a channel and its topic. An nsqd creates the channel as soon as it has the topic."""
        query = {"topic": topic, "channel": channel}
        await fetch(self.address, "/channel/create", method="POST", timeout_s=self._timeout_s, **query)

    async def _get(
        self, field: str, path: str, read: Callable[[list[Any]], frozenset[str]], **query: str
    ) -> frozenset[str]:
        def found(answer: Any) -> frozenset[str]:
            return read(listed(answer[field]))

        what = f"list of {field}"
        return await fetch_json(self.address, path, found, what, timeout_s=self._timeout_s, **query)


def _topics(names: Iterable[Any]) -> frozenset[str]:
    return frozenset(name for name in names if isinstance(name, str) and topic_problem(name) is None)


def _topics_of_nodes(nodes: list[Any]) -> frozenset[str]:
    names = [name for node in nodes if isinstance(node, dict) for name in node.get("topics") or ()]
    return _topics(listed(names))


def _channels(names: list[Any]) -> frozenset[str]:
    return frozenset(name for name in names if isinstance(name, str) and channel_problem(name) is None)
