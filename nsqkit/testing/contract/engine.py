"""Engines: what the contract suite needs of a broker that it tests, over TCP or not. No rules here."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Capability(StrEnum):
    """A feature that an engine may lack; only the rules that need it are then skipped."""

    WIRE = "speaks NSQ's TCP and HTTP protocols"


@dataclass(frozen=True, slots=True)
class Received:
    """One delivery as a subscriber sees it.

    Args:
        id: The message id, 16 bytes.
        body: The body as published.
        attempts: Deliveries to this channel so far, this one included.
        timestamp_ns: The time of the publish, nanoseconds since 1970.
    """

    id: bytes
    body: bytes
    attempts: int
    timestamp_ns: int


@dataclass(frozen=True, slots=True)
class Counts:
    """An engine's counts for one channel, with nsqd's names without ``_count``."""

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
        """Return the next delivery; fail the test if none comes."""

    async def receives_nothing(self) -> bool:
        """Return whether nothing has arrived, although the engine had time to send it."""

    async def finish(self, received: Received) -> None:
        """Finish a message (FIN)."""

    async def requeue(self, received: Received, delay_ms: int) -> None:
        """Requeue a message (REQ).

        Args:
            received: A delivery of this subscriber, or of another one.
            delay_ms: Milliseconds; 0 or more.
        """

    async def touch(self, received: Received) -> None:
        """Extend a message's timeout (TOUCH)."""

    async def refusals(self) -> list[str]:
        """Return the commands (``FIN``, ``REQ``, ``TOUCH``) that were refused so far, in order."""

    async def stop(self) -> None:
        """Stop deliveries (CLS); messages in flight can still be answered."""

    async def disconnect(self) -> None:
        """Disconnect, without an answer to messages in flight."""


class Engine(Protocol):
    """One running engine; ``create_channel`` and subscribing create topics and channels.

    Attributes:
        capabilities: The features that it has.
    """

    capabilities: frozenset[Capability]

    async def publish(self, topic: str, *bodies: bytes) -> None:
        """Publish bodies in one command, and return once they are accepted."""

    async def publish_deferred(self, topic: str, body: bytes, delay_ms: int) -> None:
        """Publish one body that no channel delivers before *delay_ms* have passed (DPUB)."""

    async def create_channel(self, topic: str, channel: str) -> None:
        """Create a topic and a channel, unless they exist."""

    async def subscribe(self, topic: str, channel: str, *, msg_timeout_ms: int = 60_000) -> Subscriber:
        """Subscribe a new client.

        Args:
            topic: The topic.
            channel: The channel.
            msg_timeout_ms: Milliseconds until a message without an answer comes again.
        """

    async def pause(self, topic: str, channel: str | None = None) -> None:
        """Pause a channel, or a whole topic."""

    async def unpause(self, topic: str, channel: str | None = None) -> None:
        """End a pause."""

    async def empty(self, topic: str, channel: str) -> None:
        """Drop all messages of a channel."""

    async def counts(self, topic: str, channel: str) -> Counts | None:
        """Return the counts of a channel; None if it does not exist."""

    async def topic_depth(self, topic: str) -> int | None:
        """Return the depth of a topic itself, without its channels; None if it does not exist."""

    async def pass_ms(self, milliseconds: int) -> None:
        """Let time pass on the engine's own clock."""

    async def exchange(self, said: bytes) -> tuple[list[bytes], bool]:
        """Send bytes, the magic included, on a new TCP connection.

        Only engines with the capability ``WIRE`` support it.

        Returns:
            The data of every frame in the answer, and whether the engine closed the connection.
        """
