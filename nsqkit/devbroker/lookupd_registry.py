"""The registry of the embedded nsqlookupd: which nsqd has which topics and channels. Pure.

Source:
    nsqlookupd/registration_db.go.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ANY = "*"


@dataclass(frozen=True, slots=True)
class Node:
    """An nsqd's name, addresses and version, as it reported them."""

    remote_address: str
    hostname: str
    broadcast_address: str
    tcp_port: int
    http_port: int
    version: str


@dataclass(slots=True, eq=False)
class Peer:
    """One connected nsqd, and the time of its last ping."""

    node: Node
    heard_s: float


@dataclass(slots=True, eq=False)
class Producer:
    """A peer that has a topic or channel; a tombstone hides it from ``/lookup`` for some time."""

    peer: Peer
    tombstoned_s: float | None = None


class Registration(NamedTuple):
    """The key of an entry: a client (no names), a topic (key), or a channel (key and subkey)."""

    category: str
    key: str = ""
    subkey: str = ""

    def matches(self, wanted: "Registration") -> bool:
        """Return whether this entry matches *wanted*, where ``*`` stands for any name."""
        return self.category == wanted.category and all(
            name in {ANY, mine} for name, mine in ((wanted.key, self.key), (wanted.subkey, self.subkey))
        )


CLIENT = Registration("client")


class Registry:
    """All registrations; a topic or channel stays after its last producer has left.

    Args:
        inactive_s: Seconds without a ping after which an nsqd is no longer listed; above 0.
        tombstone_s: Seconds for which a tombstone hides a producer; above 0.
    """

    def __init__(self, *, inactive_s: float = 300.0, tombstone_s: float = 45.0) -> None:
        self._inactive_s = inactive_s
        self._tombstone_s = tombstone_s
        self._producers: dict[Registration, dict[Peer, Producer]] = {}

    def add(self, registration: Registration, peer: Peer | None = None) -> None:
        """Add an entry, and *peer* as one of its producers."""
        producers = self._producers.setdefault(registration, {})
        if peer is not None:
            producers.setdefault(peer, Producer(peer))

    def remove(self, registration: Registration, peer: Peer) -> int:
        """Remove *peer* from an entry's producers, and return how many are left."""
        producers = self._producers.get(registration, {})
        producers.pop(peer, None)
        return len(producers)

    def drop(self, registration: Registration) -> None:
        """Remove an entry and its producers."""
        self._producers.pop(registration, None)

    def forget(self, peer: Peer) -> None:
        """Remove a disconnected nsqd from all entries; the entries stay."""
        for producers in self._producers.values():
            producers.pop(peer, None)

    def find(self, category: str, key: str = "", subkey: str = "") -> list[Registration]:
        """Return the entries with these names; ``*`` stands for any name."""
        wanted = Registration(category, key, subkey)
        return [each for each in self._producers if each.matches(wanted)]

    def topics_of(self, peer: Peer) -> Iterator[tuple[str, Producer]]:
        """Yield the topics of an nsqd."""
        for registration, producers in self._producers.items():
            if registration.category == "topic" and peer in producers:
                yield registration.key, producers[peer]

    def producers(self, category: str, key: str = "", subkey: str = "") -> list[Producer]:
        """Return the producers of the entries with these names, each nsqd once."""
        found: dict[Peer, Producer] = {}
        for registration in self.find(category, key, subkey):
            for peer, producer in self._producers[registration].items():
                found.setdefault(peer, producer)
        return list(found.values())

    def is_active(self, producer: Producer, *, now_s: float) -> bool:
        """Return whether a producer's nsqd has sent a ping recently."""
        return now_s - producer.peer.heard_s <= self._inactive_s

    def is_tombstoned(self, producer: Producer, *, now_s: float) -> bool:
        """Return whether a tombstone hides a producer now."""
        return producer.tombstoned_s is not None and now_s - producer.tombstoned_s < self._tombstone_s
