"""Publishing to one nsqd: each publish waits for nsqd's OK.

A publish is sent again only if nsqd cannot have run it.
"""

import asyncio
import struct
from collections.abc import Sequence
from dataclasses import replace

from nsq import protocol
from nsqkit.errors import ConnectionLostError, PublishError, RefusedError
from nsqkit.nsq.connection import Connection
from nsqkit.nsq.identify import ConnectionOptions
from nsqkit.nsq.message import whole_ms
from nsqkit.nsq.publish_limits import PublishLimits, Size, mpub_bytes
from nsqkit.nsq.time_limit import LoopTime, TimeLimit
from nsqkit.policy.names import topic_problem

_LENGTH = struct.Struct(">i")
_TOO_MANY = " exceeds limit of "


class NsqdPublisher:
    """Publishes to one nsqd, with many concurrent publishes on one connection.

    It connects at the first publish, and reconnects at the first publish after a loss or without an answer.

    nsqd closes the connection of a publish that it refuses, and runs none of those after it. These are sent
    again on the next connection. A command that nsqd may refuse has a separate connection: one above nsqd's
    default limits, until nsqd has accepted its size, and one to a topic where the last was not authorized. A
    command above a limit that nsqd has reported is not sent (ADR 0040).

    Args:
        address: ``host:port`` of nsqd's TCP port; an IPv6 host in brackets.
        options: Options of the connection.
        publish_timeout_s: Time limit of one command, connecting included; seconds above 0.

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
        self._limits = PublishLimits()
        self._forbidden_topics: set[str] = set()
        self._doubting = asyncio.Lock()
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
        command = protocol.dpub(topic, delay_ms, body) if delay_ms else protocol.pub(topic, body)
        await self._confirmed(topic, command, Size(len(body), delay_ms=delay_ms))

    async def publish_many(self, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish messages in one command, or in several where nsqd's max-body-size requires it.

        nsqd accepts the messages of each command all, in this order, or none. The commands are sent one after
        the other, and the first that fails ends it: then the messages of those before it have arrived.

        Args:
            topic: The topic to publish to.
            bodies: n bodies as for :meth:`publish`; for 0 bodies nothing is sent.

        Raises:
            PublishError: If nsqd did not confirm a command. Unless the error is permanent, its messages may
                have arrived.
        """
        self._check(topic, bodies)
        start = 0
        while start < len(bodies):
            end = self._limits.fitting(bodies, start)
            try:
                await self._send_together(topic, bodies[start:end])
            except PublishError as error:
                if not error.permanent or self._limits.fitting(bodies, start) >= end:
                    raise
            else:
                start = end

    async def publish_together(self, topic: str, bodies: Sequence[bytes]) -> None:
        """Publish messages in one command, whatever its size; nsqd accepts all of them or none.

        Args:
            topic: The topic to publish to.
            bodies: n bodies as for :meth:`publish`; 1 or more.

        Raises:
            PublishError: If nsqd did not confirm it. Unless the error is permanent, it may have arrived.
        """
        self._check(topic, bodies)
        await self._send_together(topic, bodies)

    def may_refuse(self, topic: str, bodies: Sequence[bytes]) -> bool:
        """Return whether nsqd may refuse messages, one or more, for the size of one or for their topic."""
        return topic in self._forbidden_topics or self._limits.is_doubtful(Size(max(map(len, bodies))))

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

    async def _send_together(self, topic: str, bodies: Sequence[bytes]) -> None:
        n_bytes = mpub_bytes(bodies)
        if len(bodies) == 1 and self._limits.is_doubtful(Size(0, n_bytes)):
            command, size = protocol.pub(topic, bodies[0]), Size(len(bodies[0]))  # it has no framing
        else:
            command, size = _mpub(topic, bodies, n_bytes), Size(max(map(len, bodies)), n_bytes)
        await self._confirmed(topic, command, size)

    async def _confirmed(self, topic: str, command: bytes, size: Size) -> None:
        if self._is_closed:
            raise PublishError(topic, self.address, "the publisher is closed", False)  # noqa: FBT003 - a field
        self._under_way += 1
        self._idle.clear()
        limit = TimeLimit(self._publish_timeout_s)
        try:
            async with limit:
                await self._request(topic, command, size, limit)
        except RefusedError as error:
            option = self._limits.refuse(size, error.description)
            if error.code == "E_UNAUTHORIZED":
                self._forbidden_topics.add(topic)
            hint = f" (its {option})" if option else ""
            raise PublishError(topic, self.address, f"{error}{hint}", error.permanent) from error
        except ConnectionLostError as error:
            raise PublishError(topic, self.address, error.reason, False) from error  # noqa: FBT003
        except TimeoutError as error:
            raise PublishError(topic, self.address, self._silence().reason, False) from error  # noqa: FBT003
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def _request(self, topic: str, command: bytes, size: Size, limit: TimeLimit) -> None:
        """Send a command and await nsqd's answer; send it again if nsqd refused one before it."""
        is_again = False
        while True:
            if self._is_doubtful(topic, size):
                async with self._doubting:  # one at a time, since its answer decides over the others
                    if self._is_doubtful(topic, size):
                        return await self._request_alone(topic, command, size)
            connection = await self._connected()
            reply = connection.request(command)
            try:
                await asyncio.shield(reply)
            except ConnectionLostError:
                cause = connection.error
                if not isinstance(cause, RefusedError) or (is_again and not cause.permanent):
                    raise
                is_again = True  # nsqd has not run this command
            except asyncio.CancelledError:
                self._end_if_silent(connection, reply, at_once=limit.is_over)
                raise
            else:
                return None

    def _is_doubtful(self, topic: str, size: Size) -> bool:
        """Return whether nsqd may refuse a command.

        Raises:
            RefusedError: If nsqd has reported that it will refuse it.
        """
        is_same_nsqd = self._connection is not None and not self._connection.closed()
        if is_same_nsqd and (problem := self._limits.problem(size)):
            raise RefusedError(self.address, *problem)
        return topic in self._forbidden_topics or self._limits.is_doubtful(size)

    async def _request_alone(self, topic: str, command: bytes, size: Size) -> None:
        connection = Connection(self.address, self._options)
        try:
            await connection.open()
            await connection.request(command)
        finally:
            connection.close()
        self._limits.accept(size)
        self._forbidden_topics.discard(topic)

    def _end_if_silent(self, connection: Connection, reply: asyncio.Future[bytes], *, at_once: bool) -> None:
        """End a connection without an answer, so that the next publish uses a new one.

        If only its caller stopped waiting, nsqd has the same time to answer anyway.
        """
        time = LoopTime(self._publish_timeout_s, lambda: connection.close(self._silence()))

        def stop(_: object) -> None:
            time.cancel()
            reply.exception()  # nobody awaits it, and asyncio would complain

        reply.add_done_callback(stop)
        if at_once:
            connection.close(self._silence())

    def _silence(self) -> ConnectionLostError:
        return ConnectionLostError(self.address, f"not confirmed within {self._publish_timeout_s:g} s")

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None or self._connection.closed():
                self.connects += 1
                self._limits.forget_reported()
                self._connection = Connection(self.address, self._options)
                await self._connection.open()
            return self._connection


def _mpub(topic: str, bodies: Sequence[bytes], n_bytes: int) -> bytes:
    # pynsq's builder refuses tuples, and copies the whole command for every body.
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
