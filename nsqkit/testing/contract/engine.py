"""Engines: what the contract suite needs of whatever speaks NSQ, over TCP or not. No rule stands here."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Capability(StrEnum):
    """What an engine may lack; a rule that needs it is skipped there, and nothing else is."""

    WIRE = "speaks NSQ's TCP and HTTP protocols"


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery as a subscriber sees it.

    Args:
        id: 16 bytes.
        body: As published.
        attempts: Deliveries to this channel so far, this one included.
        timestamp_ns: When it was published.
    """

    id: bytes
    body: bytes
    attempts: int
    timestamp_ns: int


@dataclass(frozen=True, slots=True)
class Counts:
    """What an engine counts for one channel, by nsqd's names without ``_count``."""

    depth: int
    in_flight: int
    deferred: int
    message: int
    requeue: int
    timeout: int


class Subscriber(Protocol):
    """One client on one channel, with RDY 0 at first."""

    async def ready(self, count: int) -> None:
        """Allow *count* deliveries at a time (RDY)."""

    async def receive(self) -> Received:
        """Return the next delivery; fails the test if none comes."""

    async def receives_nothing(self) -> bool:
        """Return whether nothing has come although the engine had time to send it."""

    async def finish(self, received: Received) -> None:
        """FIN."""

    async def requeue(self, received: Received, delay_ms: int) -> None:
        """REQ."""

    async def touch(self, received: Received) -> None:
        """TOUCH."""

    async def refusals(self) -> list[str]:
        """Return the commands (``FIN``, ``REQ``, ``TOUCH``) that were refused so far, in order."""

    async def stop(self) -> None:
        """Ask for nothing more (CLS); what is held can still be answered."""

    async def disconnect(self) -> None:
        """Leave; what is held is not answered."""


class Engine(Protocol):
    """One running engine; topics and channels are made by ``create_channel`` and by subscribing.

    Attributes:
        capabilities: What it has.
    """

    capabilities: frozenset[Capability]

    async def publish(self, topic: str, *bodies: bytes) -> None:
        """Publish bodies in one command, and return once they are taken."""

    async def publish_deferred(self, topic: str, body: bytes, delay_ms: int) -> None:
        """Publish one body that no channel delivers before *delay_ms* have passed (DPUB)."""

    async def create_channel(self, topic: str, channel: str) -> None:
        """Make a topic and a channel, unless they exist."""

    async def subscribe(self, topic: str, channel: str, *, msg_timeout_ms: int = 60_000) -> Subscriber:
        """Subscribe one more client."""

    async def pause(self, topic: str, channel: str | None = None) -> None:
        """Pause a channel, or a whole topic."""

    async def unpause(self, topic: str, channel: str | None = None) -> None:
        """End a pause."""

    async def empty(self, topic: str, channel: str) -> None:
        """Drop everything that a channel has."""

    async def counts(self, topic: str, channel: str) -> Counts | None:
        """Return what is counted for a channel; None if there is no such channel."""

    async def topic_depth(self, topic: str) -> int | None:
        """Return how many messages wait in a topic itself; None if there is no such topic."""

    async def pass_ms(self, milliseconds: int) -> None:
        """Let so much time pass, on the engine's own clock."""

    async def exchange(self, said: bytes) -> tuple[list[bytes], bool]:
        """Say some bytes on a TCP connection of their own, the magic included.

        Only engines with the capability ``WIRE`` have it.

        Returns:
            The data of every frame that was answered, and whether the engine then closed.
        """
