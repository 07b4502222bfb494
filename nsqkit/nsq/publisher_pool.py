"""Publisher pool: one publisher for each nsqd, connected at first use."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher import NsqdPublisher, ensure_channel
from nsqkit.nsq.time_limit import TimeLimit


class PublisherPool:
    """Publishes to any nsqd by its address, with one connection to each for the whole process.

    Args:
        options: Options of every connection.
        publish_timeout_s: Time limit of one publish, connecting included; seconds above 0.

    Attributes:
        is_closed: Whether :meth:`close` was called.
    """

    def __init__(self, options: ConnectionOptions, *, publish_timeout_s: float = 10.0) -> None:
        self._options = options
        self._publish_timeout_s = publish_timeout_s
        self._publishers: dict[str, NsqdPublisher] = {}
        self.is_closed = False
        self._channels: set[tuple[str, str, str]] = set()
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # many may need one channel

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message to the nsqd at *address*, and wait for its OK.

        Raises:
            PublishError: If nsqd does not confirm it.
        """
        await self._to(address, topic).publish(topic, body, defer_s=defer_s)

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages and wait for nsqd's OK; in one command, all or none, if they fit into one.

        Raises:
            PublishError: If nsqd does not confirm a command; those before it have arrived.
        """
        await self._to(address, topic).publish_many(topic, bodies)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Create a durable channel on the nsqd at *address*, once.

        Raises:
            PublishError: If it cannot be created within the time limit of a publish.
        """
        wanted = (address, topic, channel)
        try:
            async with TimeLimit(self._publish_timeout_s), self._making[address]:
                if wanted not in self._channels:
                    await ensure_channel(*wanted, self._options)
                    self._channels.add(wanted)
        except RefusedError as error:
            raise PublishError(topic, address, str(error), error.permanent) from error
        except ConnectionLostError as error:
            raise PublishError(topic, address, error.reason, False) from error  # noqa: FBT003 - of the error
        except TimeoutError as error:
            reason = f"no channel {channel!r} within {self._publish_timeout_s:g} s"
            raise PublishError(topic, address, reason, False) from error  # noqa: FBT003 - of the error

    async def close(self) -> None:
        """Wait for all current publishes, then close every connection. Final."""
        self.is_closed = True
        await asyncio.gather(*(publisher.close() for publisher in self._publishers.values()))

    def abandon(self) -> None:
        """Close every connection, since their event loop does not run any more. Final."""
        for publisher in self._publishers.values():
            publisher.abandon()

    def _to(self, address: str, topic: str) -> NsqdPublisher:
        if self.is_closed:
            raise PublishError(topic, address, "the publisher is closed", False)  # noqa: FBT003 - of the error
        if address not in self._publishers:
            self._publishers[address] = NsqdPublisher(
                address,
                self._options,
                publish_timeout_s=self._publish_timeout_s,
            )
        return self._publishers[address]
