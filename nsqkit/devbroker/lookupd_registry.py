"""What the embedded nsqlookupd knows: which nsqd has which topics and channels. Pure.

Source:
    nsqlookupd/registration_db.go.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ANY = "*"


@dataclass(frozen=True, slots=True)
class Node:
    """What an nsqd says about itself."""

    remote_address: str
    hostname: str
    broadcast_address: str
    tcp_port: int
    http_port: int
    version: str


@dataclass(slots=True, eq=False)
class Peer:
    """One connected nsqd, and when it was last heard."""

    node: Node
    heard_s: float


@dataclass(slots=True, eq=False)
class Producer:
    """A peer that has a topic or channel; a tombstone hides it from ``/lookup`` for a while."""

    peer: Peer
    tombstoned_s: float | None = None


class Registration(NamedTuple):
    """What may be registered: a client (no names), a topic (key), or a channel (key and subkey)."""

    category: str
    key: str = ""
    subkey: str = ""

    def matches(self, wanted: "Registration") -> bool:
        """Return whether this is what is wanted, where ``*`` stands for any name."""
        return self.category == wanted.category and all(
            name in {ANY, mine} for name, mine in ((wanted.key, self.key), (wanted.subkey, self.subkey))
        )


CLIENT = Registration("client")


class Registry:
    """All registrations; a topic or channel stays when its last producer has gone.

    Args:
        inactive_s: After how much silence an nsqd is no longer listed; above 0.
        tombstone_s: How long a tombstone hides a producer; above 0.
    """

    def __init__(self, *, inactive_s: float = 300.0, tombstone_s: float = 45.0) -> None:
        self._inactive_s = inactive_s
        self._tombstone_s = tombstone_s
        self._producers: dict[Registration, dict[Peer, Producer]] = {}

    def add(self, registration: Registration, peer: Peer | None = None) -> None:
        """Note that something exists, and that *peer* has it."""
        producers = self._producers.setdefault(registration, {})
        if peer is not None:
            producers.setdefault(peer, Producer(peer))

    def remove(self, registration: Registration, peer: Peer) -> int:
        """Note that *peer* no longer has something, and return how many others have it."""
        producers = self._producers.get(registration, {})
        producers.pop(peer, None)
        return len(producers)

    def drop(self, registration: Registration) -> None:
        """Forget something and who has it."""
        self._producers.pop(registration, None)

    def forget(self, peer: Peer) -> None:
        """Forget an nsqd that has gone; what it had stays without it."""
        for producers in self._producers.values():
            producers.pop(peer, None)

    def find(self, category: str, key: str = "", subkey: str = "") -> list[Registration]:
        """Return what is registered under these names, ``*`` for any."""
        wanted = Registration(category, key, subkey)
        return [each for each in self._producers if each.matches(wanted)]

    def topics_of(self, peer: Peer) -> Iterator[tuple[str, Producer]]:
        """Yield the topics that an nsqd has."""
        for registration, producers in self._producers.items():
            if registration.category == "topic" and peer in producers:
                yield registration.key, producers[peer]

    def producers(self, category: str, key: str = "", subkey: str = "") -> list[Producer]:
        """Return who has what is registered under these names, each nsqd once."""
        found: dict[Peer, Producer] = {}
        for registration in self.find(category, key, subkey):
            for peer, producer in self._producers[registration].items():
                found.setdefault(peer, producer)
        return list(found.values())

    def is_active(self, producer: Producer, *, now_s: float) -> bool:
        """Return whether a producer's nsqd was heard of lately."""
        return now_s - producer.peer.heard_s <= self._inactive_s

    def is_tombstoned(self, producer: Producer, *, now_s: float) -> bool:
        """Return whether a tombstone hides a producer now."""
        return producer.tombstoned_s is not None and now_s - producer.tombstoned_s < self._tombstone_s
