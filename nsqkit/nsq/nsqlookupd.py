"""Client of one nsqlookupd's HTTP port. It does not retry."""

import json
from typing import Any

from nsqkit.errors import ConnectionLostError
from nsqkit.nsq.http import fetch


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
        return frozenset(await self._get("topics", "/topics"))

    async def topics_of_nodes(self) -> frozenset[str]:
        """Return the topics that at least one nsqd has."""
        nodes = await self._get("producers", "/nodes")
        return frozenset(
            topic for node in nodes if isinstance(node, dict) for topic in node.get("topics") or ()
        )

    async def channels(self, topic: str) -> frozenset[str]:
        """Return the channels that it knows of a topic; none if it does not know the topic."""
        return frozenset(await self._get("channels", "/channels", topic=topic))

    async def create_channel(self, topic: str, channel: str) -> None:
        """Register a channel and its topic. An nsqd creates the channel as soon as it has the topic."""
        query = {"topic": topic, "channel": channel}
        await fetch(self.address, "/channel/create", method="POST", timeout_s=self._timeout_s, **query)

    async def _get(self, field: str, path: str, **query: str) -> list[Any]:
        answer = await fetch(self.address, path, timeout_s=self._timeout_s, **query)
        try:
            found = json.loads(answer)[field] or []
        except (ValueError, LookupError, TypeError):
            found = None
        if not isinstance(found, list):
            raise ConnectionLostError(self.address, f"{path} has no list of {field}: {answer[:64]!r}")
        return found
