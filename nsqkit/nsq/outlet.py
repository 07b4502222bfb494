"""Outlet: publishes to whichever nsqd is named, over one connection each, made when first needed."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher import NsqdPublisher, ensure_channel
from nsqkit.policy.errors import ConnectionLostError, PublishError, RefusedError


class Outlet:
    """The publishing side of one process.

    Args:
        options: What every connection asks of nsqd.
        publish_timeout_s: How long nsqd's OK may take, in seconds.
    """

    def __init__(self, options: ConnectionOptions, *, publish_timeout_s: float = 10.0) -> None:
        self._options = options
        self._publish_timeout_s = publish_timeout_s
        self._publishers: dict[str, NsqdPublisher] = {}
        self._channels: set[tuple[str, str, str]] = set()
        self._making: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)  # many may need one channel

    async def publish(self, address: str, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message to the nsqd at *address* and await its OK.

        Raises:
            PublishError: If it is not confirmed.
        """
        await self._to(address).publish(topic, body, defer_s=defer_s)

    async def publish_many(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages at once, all or none, and await nsqd's OK.

        Raises:
            PublishError: If they are not confirmed.
        """
        await self._to(address).publish_many(topic, bodies)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Make a durable channel on the nsqd at *address*, once.

        Raises:
            PublishError: If it cannot be made.
        """
        wanted = (address, topic, channel)
        async with self._making[address]:
            if wanted not in self._channels:
                await self._make(*wanted)
                self._channels.add(wanted)

    async def close(self) -> None:
        """Wait for what is under way, then close every connection."""
        for publisher in self._publishers.values():
            await publisher.close()

    async def _make(self, address: str, topic: str, channel: str) -> None:
        try:
            await ensure_channel(address, topic, channel, self._options)
        except RefusedError as error:
            raise PublishError(topic, address, str(error), error.permanent) from error
        except ConnectionLostError as error:
            raise PublishError(topic, address, error.reason, False) from error  # noqa: FBT003 - of the error

    def _to(self, address: str) -> NsqdPublisher:
        if address not in self._publishers:
            self._publishers[address] = NsqdPublisher(
                address,
                self._options,
                publish_timeout_s=self._publish_timeout_s,
            )
        return self._publishers[address]
