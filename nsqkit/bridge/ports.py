"""Ports: what a route needs of Kafka and RabbitMQ; one adapter per broker implements them."""

from collections.abc import Sequence
from typing import Protocol

from nsqkit.bridge.record import Record


class RecordSource(Protocol):
    """A Kafka topic or a RabbitMQ queue that a route reads.

    One task calls ``read`` and ``confirm`` in turn: what was read is confirmed before the next ``read``, so a
    source has one batch in flight. The adapter keeps its connection: it connects again by itself, with
    growing pauses, and ``read`` waits meanwhile.
    """

    async def open(self) -> None:
        """Connect, and make sure that what the route reads exists.

        Raises:
            BridgeError: If only a person can help: it does not exist, or the broker refuses the credentials.
            OutageError: If the broker cannot be reached; the caller tries again.
        """

    async def read(self) -> Sequence[Record]:
        """Wait for records, and return all that have arrived, in their order per partition; 1 to 500.

        The caller may cancel it to stop; it reads no more then, and confirms nothing of it.

        Raises:
            BridgeError: As ``open``.
        """
        ...

    async def confirm(self, records: Sequence[Record]) -> None:
        """Mark the records of the last ``read`` as done: commit their offsets, or acknowledge them.

        A record whose partition or connection is not ours any more is left out; its next owner reads it
        again. A commit may be sent later, but before ``close`` returns and before a partition is given up.
        """

    def pause(self) -> None:
        """Read nothing more, and stay in the group or connected; ``read`` waits.

        May be called again, and before ``open`` has succeeded.
        """

    def resume(self) -> None:
        """End the pause; may be called again, and before ``open`` has succeeded."""

    async def lag(self) -> int | None:
        """Return how many records wait at the broker: end offset - committed, or messages ready.

        It is that of the whole topic for the group, or of the queue, whichever process reads it: several
        workers of one bridge show the largest number that one of them knows.

        Returns:
            0 or more; None if the broker does not answer within some seconds.
        """
        ...

    @property
    def problems(self) -> tuple[str, ...]:
        """Why nothing can arrive, such as a lost connection, one line each, without credentials."""
        ...

    async def close(self) -> None:
        """Send the commits that wait, and disconnect; may be called after a failed ``open``."""


class RecordTarget(Protocol):
    """A Kafka topic or a RabbitMQ exchange that a route writes. Many ``send`` run at the same time."""

    async def open(self) -> None:
        """Connect, and make sure that the topic or exchange exists; raises as ``RecordSource.open``."""

    async def send(self, record: Record) -> None:
        """Write a record, and return when the broker has confirmed it (Kafka: ``acks=all``).

        Args:
            record: Its body, headers, content type and key are written.

        Raises:
            RecordRefusedError: If the broker refuses this record: it is too large, or cannot be routed.
            OutageError: If the broker cannot be reached, or cannot confirm now.
        """

    @property
    def problems(self) -> tuple[str, ...]:
        """As of ``RecordSource``."""
        ...

    async def close(self) -> None:
        """Wait for what is under way, and disconnect."""
