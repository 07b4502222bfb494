"""Publishing to one nsqd: each publish waits for nsqd's OK. It does not retry."""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import replace

from nsq import protocol
from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.message import whole_ms
from nsqkit.nsq.time_limit import TimeLimit
from nsqkit.policy.names import topic_problem

_LENGTH = struct.Struct(">i")
_TOO_MANY = " exceeds limit of "


class NsqdPublisher:
    """Publishes to one nsqd, with many concurrent publishes on one connection.

    It connects at the first publish, and reconnects at the first publish after a loss.

    Args:
        address: ``host:port`` of nsqd's TCP port; an IPv6 host in brackets.
        options: Options of the connection.
        publish_timeout_s: Time limit of one publish, connecting included; seconds above 0.

    Attributes:
        connects: Number of connections that were opened or tried so far.
    """

    def __init__(self, address: str, options: ConnectionOptions, publish_timeout_s: float = 10.0) -> None:
        self.address = address
        self.connects = 0
        self._options = replace(options, msg_timeout_s=None, holds_s=0.0)
        self._publish_timeout_s = publish_timeout_s
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_closed = False

    async def publish(self, topic: str, body: bytes, *, defer_s: float = 0.0) -> None:
        """Publish one message, and return when nsqd has confirmed it.

        Args:
            topic: The topic to publish to.
            body: Body of the message; 1 byte up to nsqd's max-msg-size.
            defer_s: Seconds for which every channel defers the message, up to nsqd's max-req-timeout;
                rounded up to milliseconds.

        Raises:
            PublishError: If nsqd did not confirm it. Unless the error is permanent, it may have arrived.
            ValueError: If *defer_s* is negative or not finite.
        """
        if defer_s < 0:
            raise ValueError(f"defer_s={defer_s!r} is negative")
        self._check(topic, [body])
        delay_ms = whole_ms(defer_s)
        await self._confirmed(
            topic,
            protocol.dpub(topic, delay_ms, body) if delay_ms else protocol.pub(topic, body),
        )

    async def publish_many(self, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish messages in one command: nsqd accepts all of them, in this order, or none.

        Args:
            topic: The topic to publish to.
            bodies: n bodies as for :meth:`publish`, together up to nsqd's max-body-size; for 0 bodies
                nothing is sent.

        Raises:
            PublishError: If nsqd did not confirm them. Unless the error is permanent, they may have arrived.
        """
        self._check(topic, bodies)
        if bodies:
            await self._confirmed(topic, _mpub(topic, bodies))

    @property
    def is_connected(self) -> bool:
        """Whether the connection to nsqd is open."""
        return self._connection is not None and not self._connection.closed()

    async def close(self) -> None:
        """Wait until all current publishes are confirmed or have failed, then disconnect. Final."""
        self._is_closed = True
        await self._idle.wait()
        if self._connection is not None:
            self._connection.close()

    def abandon(self) -> None:
        """Close the connection, since its event loop does not run any more. Final."""
        if self._connection is not None:
            self._connection.abandon()

    def _check(self, topic: str, bodies: Sequence[object]) -> None:
        """Reject, before any write, a publish that would harm the other ones on this connection.

        nsqd closes the connection at a bad name. For an empty body pynsq omits the length, so that nsqd reads
        the next command as the body; pynsq's asserts do not run under ``-O``.
        """
        problem = topic_problem(topic)
        for body in bodies:
            if not isinstance(body, bytes):
                problem = f"a body is bytes, not {type(body).__name__}"
            elif not body:
                problem = "the body is empty; NSQ requires at least 1 byte"
        if problem is not None:
            raise PublishError(topic, self.address, problem, True)  # noqa: FBT003 - a field, not a flag

    async def _confirmed(self, topic: str, command: bytes) -> None:
        self._under_way += 1
        self._idle.clear()
        try:
            async with TimeLimit(self._publish_timeout_s):
                await (await self._connected()).request(command)
        except RefusedError as error:
            raise PublishError(topic, self.address, str(error), error.permanent) from error
        except ConnectionLostError as error:
            raise PublishError(topic, self.address, error.reason, False) from error  # noqa: FBT003
        except TimeoutError as error:
            reason = f"not confirmed within {self._publish_timeout_s:g} s"
            raise PublishError(topic, self.address, reason, False) from error  # noqa: FBT003
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _connected(self) -> Connection:
        if self._is_closed:
            raise ConnectionLostError(self.address, "the publisher is closed")
        async with self._connecting:
            if self._connection is None or self._connection.closed():
                self.connects += 1
                self._connection = Connection(self.address, self._options)
                await self._connection.open()
            return self._connection


def _mpub(topic: str, bodies: Sequence[bytes]) -> bytes:
    # pynsq's builder refuses tuples, and copies the whole command for every body.
    n_bytes = _LENGTH.size * (1 + len(bodies)) + sum(map(len, bodies))
    parts = [b"MPUB ", topic.encode(), b"\n", _LENGTH.pack(n_bytes), _LENGTH.pack(len(bodies))]
    for body in bodies:
        parts += (_LENGTH.pack(len(body)), body)
    return b"".join(parts)


async def ensure_channel(address: str, topic: str, channel: str, options: ConnectionOptions) -> None:
    """Create a channel and its topic unless they exist; an ephemeral channel lasts only for the call.

    It subscribes with RDY 0, so it receives no message and needs no HTTP port. A channel that has as many
    consumers as --max-channel-consumers allows exists, since nsqd creates it before it counts them.

    Args:
        address: ``host:port`` of nsqd's TCP port.
        topic: Topic of the channel. A new channel gets all messages published from now on; the first channel
            of a topic also gets those that wait in the topic.
        channel: Channel to create.
        options: Options of the connection.

    Raises:
        ConnectionLostError: If nsqd cannot be reached.
        RefusedError: If nsqd refuses.
        ValueError: If a name is not valid.

    Source:
        nsqd/protocol_v2.go (SUB), nsqd/channel.go (AddClient).
    """
    connection = Connection(address, replace(options, msg_timeout_s=None, holds_s=0.0))
    try:
        await connection.open()
        await connection.subscribe(topic, channel)
    except RefusedError as error:
        if _TOO_MANY not in error.description:
            raise
    finally:
        connection.close()
