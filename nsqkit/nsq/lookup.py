"""Lookups: ask all nsqlookupd for nsqd, and merge the answers. It caches nothing."""

import asyncio
import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from nsqkit.errors import ConnectionLostError, RefusedError, SettingsError
from nsqkit.nsq.http import fetch_json
from nsqkit.policy.address import is_host, join_address, split_address

_SHOWN: Final = ("broadcast_address", "hostname", "remote_address", "tcp_port", "http_port")
_LONGEST_SHOWN: Final = 300
_REMEMBERED: Final = 5000
_NO_HOST: Final = "its broadcast address is not a host"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """One nsqd, as registered in nsqlookupd.

    Args:
        address: ``host:port`` of its TCP port; an IPv6 host in brackets.
        http_address: ``host:port`` of its HTTP port; empty if it has none.
    """

    address: str
    http_address: str


@dataclass(frozen=True, slots=True)
class LookupResult:
    """The merged answers of all nsqlookupd.

    Args:
        nodes: All nsqd that at least one nsqlookupd named.
        failures: One line for each nsqlookupd without a valid answer.
        faults: One line for each registration that cannot be used, or that hides another nsqd.
    """

    nodes: frozenset[Node]
    failures: tuple[str, ...]
    faults: tuple[str, ...] = ()


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
            nodes=frozenset().union(*(answer.nodes for answer in answers)),
            failures=tuple(line for answer in answers for line in answer.failures),
            faults=tuple(dict.fromkeys(line for answer in answers for line in answer.faults)),
        )

    async def _ask(self, address: str, path: str, query: dict[str, str]) -> LookupResult:
        try:
            what = "list of producers"
            return await fetch_json(address, path, _registered, what, timeout_s=self._timeout_s, **query)
        except RefusedError as error:
            is_unknown = error.code == "TOPIC_NOT_FOUND"
            failures = () if is_unknown else (f"nsqlookupd {address}: {error.code} {error.description}",)
        except ConnectionLostError as error:
            failures = (f"nsqlookupd {address}: {error.reason}",)
        return LookupResult(frozenset(), failures)


def _registered(answer: dict[str, Any]) -> LookupResult:
    """Return the nsqd in one answer: a registration that cannot be used hides no other."""
    nodes: dict[str, Node] = {}
    faults = []
    for producer in answer["producers"] or ():
        try:
            node = _node(producer)
        except (SettingsError, LookupError, TypeError) as error:
            why = str(error) if isinstance(error, SettingsError) else "it names no host and ports"
            faults.append(f"an nsqd is skipped: {why}; it registers {_shown(producer)}")
            continue
        if node.address in nodes:
            faults.append(f"two nsqd register {node.address}, and only one of them is consumed")
            continue
        nodes[node.address] = node
    return LookupResult(frozenset(nodes.values()), (), tuple(faults))


def _node(producer: dict[str, object]) -> Node:
    host, port, http_port = (producer[name] for name in ("broadcast_address", "tcp_port", "http_port"))
    if not isinstance(host, str):
        raise SettingsError(_NO_HOST)
    return _checked(host, str(port), str(http_port))


@lru_cache(_REMEMBERED)  # each answer of nsqlookupd repeats the ones before it
def _checked(host: str, port: str, http_port: str) -> Node:
    if not is_host(host):
        raise SettingsError(_NO_HOST)
    address, http_address = join_address(host, port), join_address(host, http_port)
    split_address(address)
    with contextlib.suppress(SettingsError):  # nsqd without an HTTP port registers port 0
        split_address(http_address)
        return Node(address, http_address)
    return Node(address, "")


def _shown(producer: object) -> str:
    if isinstance(producer, dict):
        producer = {name: producer[name] for name in _SHOWN if name in producer}
    text = json.dumps(producer)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
