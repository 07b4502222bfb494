"""What one handler publishes: recorded, and made to fail if a test asks for it."""

from collections.abc import Coroutine, Sequence
from typing import Any

from nsqkit.errors import PublishError
from nsqkit.handler.spec import HandlerSpec
from nsqkit.runtime.ports import Publishes
from nsqkit.testing.journal import Journal


class PublishFaults:
    """The publishes that a test wants to fail."""

    def __init__(self) -> None:
        self._wanted: list[tuple[str | None, bool]] = []

    def add(self, times: int, topic: str | None, *, permanent: bool) -> None:
        """Let more publishes fail.

        Args:
            times: How many; 1 or more.
            topic: The topic of those publishes; None for any.
            permanent: Whether the error is permanent.

        Raises:
            ValueError: If *times* is below 1.
        """
        if times < 1:
            raise ValueError(f"times={times!r}: give 1 or more")
        self._wanted += [(topic, permanent)] * times

    def raise_next(self, address: str, topic: str) -> None:
        """Raise the next fault for this topic, if there is one.

        Raises:
            PublishError: If the test wants this publish to fail.
        """
        for fault in self._wanted:
            only, permanent = fault
            if only in {None, topic}:
                self._wanted.remove(fault)
                raise PublishError(topic, address, "failed by fail_publish()", permanent)


class RecordingPublisher:
    """The publisher of one handler.

    Args:
        spec: The handler.
        to: The broker to publish to.
        journal: The journal that records each publish.
        faults: The publishes that must fail.
    """

    def __init__(self, spec: HandlerSpec, to: Publishes, journal: Journal, faults: PublishFaults) -> None:
        self._spec = spec
        self._to = to
        self._journal = journal
        self._faults = faults

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish and await the OK.

        Raises:
            PublishError: If it is not confirmed, or the test wants it to fail.
        """
        publish = self._to.publish(address, topic, body, defer_s=defer_s)
        await self._recorded(publish, address, topic, [body], defer_s)

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages in one command, all or none, and await the OK.

        Raises:
            PublishError: If they are not confirmed, or the test wants the command to fail.
        """
        publish = self._to.publish_many(address, topic, bodies)
        await self._recorded(publish, address, topic, bodies, 0.0)

    async def _recorded(
        self,
        publish: Coroutine[Any, Any, None],
        address: str,
        topic: str,
        bodies: Sequence[bytes],
        defer_s: float,
    ) -> None:
        histories = [self._journal.publishing(self._spec, topic, body, defer_s) for body in bodies]
        try:
            self._faults.raise_next(address, topic)
            await publish
        except PublishError as error:
            publish.close()
            for history in histories:
                self._journal.unconfirmed(history, error)
            raise
        for body in bodies:
            self._journal.confirmed(self._spec, topic, body, defer_s)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Create a durable channel.

        Raises:
            PublishError: If that fails.
        """
        await self._to.ensure_channel(address, topic, channel)
