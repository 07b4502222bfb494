"""Lookups: ask all nsqlookupd for nsqd, and merge the answers. It caches nothing."""

import asyncio
import contextlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from nsqkit.errors import ConnectionLostError, RefusedError, SettingsError
from nsqkit.nsq.http import fetch_json, listed
from nsqkit.policy.address import is_host, join_address, split_address

_SHOWN: Final = ("broadcast_address", "hostname", "remote_address", "tcp_port", "http_port")
_LONGEST_SHOWN: Final = 300
_REMEMBERED: Final = 5000
_MOST_READ: Final = 2000
"""Registrations of one answer that are checked: to check 200,000 would block the event loop for seconds."""
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
        unread: How many registrations were not read, of the longest answer.
    """

    nodes: frozenset[Node]
    failures: tuple[str, ...]
    faults: tuple[str, ...] = ()
    unread: int = 0

    @property
    def problems(self) -> tuple[str, ...]:
        """Why an nsqd may be missing, one line each."""
        unread = (f"{self.unread} registrations are left out, they are too many",) if self.unread else ()
        return self.failures + self.faults + unread


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

    async def producers(self, topic: str, *, known: Collection[str] = frozenset()) -> LookupResult:
        """Return the nsqd that have a topic; none and no failure if the topic is unknown.

        Args:
            topic: The topic.
            known: ``host:port`` of the nsqd to read first, of an answer with more than 2,000.
        """
        return await self._ask_all("/lookup", known, topic=topic)

    async def nodes(self) -> LookupResult:
        """Return all nsqd, at most 2,000 of each answer."""
        return await self._ask_all("/nodes", frozenset())

    async def _ask_all(self, path: str, known: Collection[str], **query: str) -> LookupResult:
        asked = (self._ask(address, path, known, query) for address in self.addresses)
        answers = await asyncio.gather(*asked)
        return LookupResult(
            nodes=frozenset().union(*(answer.nodes for answer in answers)),
            failures=tuple(line for answer in answers for line in answer.failures),
            faults=tuple(dict.fromkeys(line for answer in answers for line in answer.faults)),
            unread=max((answer.unread for answer in answers), default=0),
        )

    async def _ask(
        self, address: str, path: str, known: Collection[str], query: dict[str, str]
    ) -> LookupResult:
        def read(answer: Any) -> LookupResult:
            return _registered(listed(answer["producers"]), known)

        try:
            return await fetch_json(
                address, path, read, "list of producers", timeout_s=self._timeout_s, **query
            )
        except RefusedError as error:
            is_unknown = error.code == "TOPIC_NOT_FOUND"
            failures = () if is_unknown else (f"nsqlookupd {address}: {error.code} {error.description}",)
        except ConnectionLostError as error:
            failures = (f"nsqlookupd {address}: {error.reason}",)
        return LookupResult(frozenset(), failures)


def _registered(producers: list[Any], known: Collection[str]) -> LookupResult:
    """Return the nsqd in one answer: a registration that cannot be used hides no other."""
    nodes: dict[str, Node] = {}
    faults = []
    for producer in _first(producers, known):
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
    unread = max(0, len(producers) - _MOST_READ)
    return LookupResult(frozenset(nodes.values()), (), tuple(faults), unread)


def _first(producers: list[Any], known: Collection[str]) -> list[Any]:
    """Return the registrations to read, the known ones first if they are too many."""
    if len(producers) <= _MOST_READ:
        return producers
    return sorted(producers, key=lambda each: _unchecked_address(each) not in known)[:_MOST_READ]


def _unchecked_address(producer: object) -> str:
    if not isinstance(producer, dict):
        return ""
    return join_address(str(producer.get("broadcast_address")), str(producer.get("tcp_port")))


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
