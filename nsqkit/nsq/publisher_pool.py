"""Publisher pool: one publisher for each nsqd, connected at first use, and what is known of each nsqd."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.publisher import NsqdPublisher, ensure_channel
from nsqkit.nsq.time_limit import TimeLimit


@dataclass(slots=True)
class _Known:
    """What is known of an nsqd until the connection to it ends: it may come back without its data.

    Args:
        connects: Number of connections when it was learnt.
        is_connected: Whether the last of them was open then. If not, the next one counts as the same.
    """

    connects: int
    is_connected: bool
    channels: set[tuple[str, str]] = field(default_factory=set)
    max_msg_bytes: int | None = None

    def holds(self, connects: int, *, is_connected: bool) -> bool:
        """Return whether it is still true, and remember the connection."""
        if is_connected and not self.is_connected:
            self.connects += 1
            self.is_connected = True
        return (connects, is_connected) == (self.connects, self.is_connected)


class PublisherPool:
    """Publishes to any nsqd by its address, with one connection to each for the whole process.

    Args:
        options: Options of every connection.
        publish_timeout_s: Time limit of one publish, connecting included; seconds above 0.
        http_of: Returns ``host:port`` of the HTTP port of the nsqd at an address; None if it is not known.

    Attributes:
        is_closed: Whether :meth:`close` was called.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        *,
        publish_timeout_s: float = 10.0,
        http_of: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._options = options
        self._http_of = http_of
        self._publish_timeout_s = publish_timeout_s
        self._publishers: dict[str, NsqdPublisher] = {}
        self.is_closed = False
        self._known: dict[str, _Known] = {}
        self._creating: dict[tuple[str, str, str], asyncio.Task[None]] = {}

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

    async def publish_together(self, address: str, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish n messages in one command, all or none, and wait for nsqd's OK; 1 or more.

        Raises:
            PublishError: If nsqd does not confirm it.
        """
        await self._to(address, topic).publish_together(topic, bodies)

    def may_refuse(self, address: str, topic: str, bodies: Sequence[bytes]) -> bool:
        """Return whether the nsqd at *address* may refuse messages; see ``NsqdPublisher.may_refuse``.

        Raises:
            PublishError: If the pool is closed.
        """
        return self._to(address, topic).may_refuse(topic, bodies)

    async def ensure_channel(self, address: str, topic: str, channel: str) -> None:
        """Create a durable channel on the nsqd at *address*, again only after the connection to it has ended.

        Raises:
            PublishError: If it cannot be created within the time limit of a publish.
        """
        known = self._known_of(self._to(address, topic))
        if (topic, channel) in known.channels:
            return
        key = address, topic, channel
        if key not in self._creating:  # many may need it, and all of them go on in one turn of the loop
            creating = asyncio.create_task(self._create_channel(*key))
            creating.add_done_callback(lambda _: self._creating.pop(key))
            self._creating[key] = creating
        try:
            await asyncio.shield(self._creating[key])
            known.channels.add((topic, channel))
        except RefusedError as error:
            raise PublishError(topic, address, str(error), error.permanent) from error
        except ConnectionLostError as error:
            raise PublishError(topic, address, error.reason, False) from error  # noqa: FBT003 - of the error
        except TimeoutError as error:
            reason = f"no channel {channel!r} within {self._publish_timeout_s:g} s"
            raise PublishError(topic, address, reason, False) from error  # noqa: FBT003 - of the error

    async def _create_channel(self, address: str, topic: str, channel: str) -> None:
        async with TimeLimit(self._publish_timeout_s):
            await ensure_channel(address, topic, channel, self._options)

    async def max_msg_bytes(self, address: str) -> int | None:
        """Return max-msg-size of the nsqd at *address*, asked again once its connection has ended.

        Returns:
            Bytes; None if nsqd does not report it over HTTP.
        """
        http_address = self._http_of(address)
        if http_address is None or self.is_closed:
            return None
        known = self._known_of(self._to(address, ""))
        if known.max_msg_bytes is None:
            with suppress(ConnectionLostError):
                known.max_msg_bytes = await NsqdHttp(http_address).config("max_msg_size")
        return known.max_msg_bytes

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

    def _known_of(self, publisher: NsqdPublisher) -> _Known:
        connects, is_connected = publisher.connects, publisher.is_connected
        known = self._known.get(publisher.address)
        if known is None or not known.holds(connects, is_connected=is_connected):
            known = self._known[publisher.address] = _Known(connects, is_connected)
        return known
