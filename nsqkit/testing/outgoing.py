"""Outgoing: what one handler publishes, noted, and made to fail where a test wants that."""

from nsqkit.errors import PublishError
from nsqkit.handler.spec import HandlerSpec
from nsqkit.runtime.ports import Publishes
from nsqkit.testing.journal import Journal


class Faults:
    """Publishes that are to fail."""

    def __init__(self) -> None:
        self._wanted: list[tuple[str | None, bool]] = []

    def add(self, times: int, topic: str | None, *, permanent: bool) -> None:
        """Let some more publishes fail.

        Raises:
            ValueError: If *times* is below 1.
        """
        if times < 1:
            raise ValueError(f"times={times!r}: give 1 or more")
        self._wanted += [(topic, permanent)] * times

    def strike(self, address: str, topic: str) -> None:
        """Fail, if that is wanted of this topic.

        Raises:
            PublishError: If it is.
        """
        for fault in self._wanted:
            only, permanent = fault
            if only in {None, topic}:
                self._wanted.remove(fault)
                raise PublishError(topic, address, "fail_publish() said so", permanent)


class Outgoing:
    """Where one handler publishes.

    Args:
        spec: The handler.
        to: Where it goes.
        journal: Where it is noted.
        faults: What is to fail.
    """

    def __init__(self, spec: HandlerSpec, to: Publishes, journal: Journal, faults: Faults) -> None:
        self._spec = spec
        self._to = to
        self._journal = journal
        self._faults = faults

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish and await the OK.

        Raises:
            PublishError: If it is not confirmed, or is to fail.
        """
        story = self._journal.follows(self._spec, topic, body, defer_s)
        try:
            self._faults.strike(address, topic)
            await self._to.publish(address, topic, body, defer_s=defer_s)
        except PublishError as error:
            self._journal.unconfirmed(story, error)
            raise
        self._journal.followed(self._spec, topic, body, defer_s)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Make a durable channel.

        Raises:
            PublishError: If that cannot be done.
        """
        await self._to.ensure_channel(address, topic, channel)
