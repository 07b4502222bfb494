"""Lookups: ask all nsqlookupd for nsqd, and merge the answers. It caches nothing."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nsqkit.errors import ConnectionLostError, RefusedError
from nsqkit.nsq.http import fetch_json
from nsqkit.policy.address import join_address, split_address


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """One nsqd, as registered in nsqlookupd.

    Args:
        address: ``host:port`` of its TCP port; an IPv6 host in brackets.
        http_address: ``host:port`` of its HTTP port.
    """

    address: str
    http_address: str


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The merged answers of all nsqlookupd.

    Args:
        nodes: All nsqd that at least one nsqlookupd named.
        failures: One line for each nsqlookupd without a valid answer.
    """

    nodes: frozenset[Node]
    failures: tuple[str, ...]


class Lookup:
    """Asks every nsqlookupd concurrently; any of them may fail.

    Args:
        addresses: ``host:port`` of the HTTP port of each nsqlookupd.
        timeout_s: Time limit of one request, in seconds above 0.

    Raises:
        SettingsError: If an address is not a host and a port.

    Source:
        nsqlookupd/http.go.
    """

    def __init__(self, addresses: Iterable[str], timeout_s: float = 2.0) -> None:
        self.addresses = tuple(dict.fromkeys(addresses))
        self._timeout_s = timeout_s
        for address in self.addresses:
            split_address(address)

    async def producers(self, topic: str) -> LookupResult:
        """Return the nsqd that have a topic; none and no failure if the topic is unknown."""
        return await self._ask_all("/lookup", topic=topic)

    async def nodes(self) -> LookupResult:
        """Return all nsqd."""
        return await self._ask_all("/nodes")

    async def _ask_all(self, path: str, **query: str) -> LookupResult:
        answers = await asyncio.gather(*(self._ask(address, path, query) for address in self.addresses))
        return LookupResult(
            nodes=frozenset().union(*(nodes for nodes, _ in answers)),
            failures=tuple(failure for _, failure in answers if failure is not None),
        )

    async def _ask(
        self, address: str, path: str, query: dict[str, str]
    ) -> tuple[frozenset[Node], str | None]:
        try:
            what = "list of producers"
            return await fetch_json(address, path, _nodes, what, timeout_s=self._timeout_s, **query), None
        except RefusedError as error:
            if error.code == "TOPIC_NOT_FOUND":
                return frozenset(), None
            return frozenset(), f"nsqlookupd {address}: {error.code} {error.description}"
        except ConnectionLostError as error:
            return frozenset(), f"nsqlookupd {address}: {error.reason}"


def _nodes(answer: dict[str, Any]) -> frozenset[Node]:
    return frozenset(map(_node, answer["producers"] or ()))


def _node(producer: dict[str, object]) -> Node:
    host = str(producer["broadcast_address"])
    address, http_address = (join_address(host, str(producer[port])) for port in ("tcp_port", "http_port"))
    split_address(address)
    return Node(address, http_address)
