"""One TCP connection to one nsqd: reads whole chunks, and joins commands into one write.

It never reconnects. It knows nothing of other connections or of the meaning of messages.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from nsq import protocol
from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.clock_skews import SkewsNs
from nsqkit.nsq.commands import CommandBuffer
from nsqkit.nsq.dial import dial
from nsqkit.nsq.failure import failure_of, lost, refusal, settle_failure
from nsqkit.nsq.frames import Frames
from nsqkit.nsq.handshake import Handshake
from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply
from nsqkit.nsq.keepalive import Keepalive
from nsqkit.nsq.message import Message
from nsqkit.nsq.replies import PendingReplies, failed_reply
from nsqkit.nsq.stream import Stream
from nsqkit.nsq.time_limit import TimeLimit
from nsqkit.nsq.wire import Wire
from nsqkit.policy import lease
from nsqkit.policy.address import split_address
from nsqkit.policy.names import channel_problem, topic_problem

_MOST_PER_RDY = 10
_MOST_UNASKED = 1000
"""Messages in flight that end a connection: ten times its highest RDY, and a thousand."""


class Connection:
    """A connection to one nsqd, which is opened once.

    Chunks are processed as they arrive, without a task. All commands of one turn of the event loop are sent
    in one write (ADR 0043).

    Args:
        address: ``host:port`` of nsqd's TCP port; an IPv6 host in brackets.
        options: Options for IDENTIFY and the handshake.
        on_messages: Called with the deliveries of each chunk on arrival, one or more; it must not block.
        on_settle_failure: Called with ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` when nsqd reports that the command
            came too late.
        on_end: Called once the connection has ended, for any reason.
        skews_ns: How far this machine's clock is ahead of an nsqd's, by *address*.

    Attributes:
        topic: The subscribed topic; empty before :meth:`subscribe`.
        limits: Limits that nsqd granted; nsqd's defaults before :meth:`open`.
        error: Why the connection ended; None while it is open, and after :meth:`close`.
        heartbeat_s: Interval of nsqd's heartbeats in seconds; silence for two intervals ends the connection.
        rdy: The RDY last sent.
        received: Number of deliveries so far.
        answered: Number of deliveries that were finished, requeued or forgotten.
        age_s: Seconds between publishing and arrival of the last delivery, corrected by the skew of the
            clocks if that is known; 0 for a redelivery.
        on_change: Called once after each chunk with messages, when all that could run at once has run, and
            before commands are written; a RDY that it sets is part of the same write.

    Raises:
        SettingsError: If *address* is not a host and a port.
    """

    def __init__(
        self,
        address: str,
        options: ConnectionOptions,
        *,
        on_messages: Callable[[Sequence[Message]], None] = lambda _: None,
        on_settle_failure: Callable[[str], None] = lambda _: None,
        on_end: Callable[[], None] = lambda: None,
        skews_ns: Mapping[str, int | None] = SkewsNs(),
    ) -> None:
        self._target = split_address(address)
        self.address = address
        self.topic = ""
        self._take_limits(IdentifyReply())
        self.heartbeat_s = float(options.heartbeat_s)
        self.rdy = self.received = self.answered = 0
        self.error: NsqkitError | None = None
        self.age_s = 0.0
        self.on_change: Callable[[], None] = lambda: None
        self._options = options
        self._on_messages = on_messages
        self._on_settle_failure = on_settle_failure
        self._on_end = on_end
        self._skews_ns = skews_ns
        self._ended = asyncio.Event()
        self._replies = PendingReplies()
        self._commands = CommandBuffer(lambda: self.on_change())  # noqa: PLW0108 - it is set later
        self._most_rdy = 0
        self._is_opened = False
        self._takes_ready = True
        self._stream: Stream | None = None
        self._keepalive = Keepalive(self._on_silent)
        self._frames = Frames(options.max_frame_bytes)
        self._guard: asyncio.Task[None] | None = None

    async def open(self) -> IdentifyReply:
        """Connect, shake hands, and return the limits that nsqd granted.

        Raises:
            ConnectionLostError: If nsqd cannot be reached, sends nothing, closes the connection or is not an
                nsqd, or if :meth:`close` was called.
            RefusedError: If nsqd refuses IDENTIFY or AUTH, requires a secret or has a low max-msg-timeout.
            RuntimeError: If the connection was opened before.
        """
        if self._ended.is_set():
            raise self._lost()
        if self._is_opened:
            raise RuntimeError("a Connection can be opened only once")
        self._is_opened = True
        try:
            self._stream = await dial(*self._target, self._options.connect_timeout_s)
            async with TimeLimit(self._options.connect_timeout_s):
                await self._shake_hands(self._stream)
        except Exception as error:
            failure = self._lost() if self._ended.is_set() else failure_of(self.address, error)
            self._end(failure)
            if failure is error:
                raise
            raise failure from error
        except BaseException:  # cancelled: close everything
            self._end(None)
            raise
        return self.limits

    async def subscribe(self, topic: str, channel: str) -> None:
        """Subscribe to one channel; messages arrive when :meth:`ready` allows them.

        Raises:
            ConnectionLostError: If the connection ended before nsqd's OK.
            RefusedError: If nsqd refused; this ends the connection.
            ValueError: If a name is not valid.
        """
        if problem := topic_problem(topic) or channel_problem(channel):
            raise ValueError(problem)
        self.topic = topic
        await self.request(protocol.subscribe(topic, channel))

    def ready(self, count: int) -> None:
        """Set RDY: *count* messages may be in flight, at most nsqd's max_rdy_count; 0 stops deliveries."""
        count = min(count, self.limits.max_rdy_count)
        if count != self.rdy and self._takes_ready:
            self.rdy = count
            self._most_rdy = max(self._most_rdy, count)
            self._commands.ready(count)

    def request(self, command: bytes) -> asyncio.Future[bytes]:
        """Send a command that nsqd answers, and return a future of the answer.

        nsqd answers in the order of the commands. The future fails with RefusedError or ConnectionLostError;
        cancelling it does not affect the others.
        """
        return self._replies.add() if self.send(command) else failed_reply(self._lost())

    def send(self, data: bytes) -> bool:
        """Send a command at the end of this loop turn, and return whether the connection accepted it."""
        return self._commands.send(data)

    def is_lost(self) -> bool:
        """Return whether no command can be sent: before :meth:`open`, and after the connection ended."""
        return self._commands.is_lost()

    def closed(self) -> bool:
        """Return whether the connection has ended, for any reason."""
        return self._ended.is_set()

    @property
    def read_s(self) -> float:
        """Time of the last read, by ``time.monotonic()``; only after :meth:`open`."""
        return self._keepalive.read_s

    def settle(self, command: bytes) -> bool:
        """Send the FIN or REQ of a message; see :meth:`send`."""
        self.answered += 1
        return self._commands.send(command)

    def finish_all(self, ids: Sequence[bytes]) -> bool:
        """Send FIN for messages, one or more; see :meth:`send`."""
        self.answered += len(ids)
        return self._commands.send(b"FIN " + b"\nFIN ".join(ids) + b"\n")

    def forget(self) -> None:
        """Count a message with an expired lease as answered: it is no longer in flight here."""
        self.answered += 1
        self.on_change()

    async def close_wait(self) -> None:
        """End deliveries for good (CLS) and wait for nsqd's CLOSE_WAIT.

        Messages that nsqd has already sent still arrive, and messages can still be answered. Has no effect
        without a subscription or when called again.

        Raises:
            ConnectionLostError: If the connection ended before the answer.
            RefusedError: If nsqd refused.
        """
        if not self.topic or not self._takes_ready:
            return
        self._takes_ready = False  # nsqd ignores RDY from now on
        self.rdy = 0
        await self.request(b"CLS\n")  # pynsq has no builder for it

    async def half_close(self, timeout_s: float) -> None:
        """Write buffered commands, close the sending side, read until nsqd closes, then close.

        nsqd closes after it has read everything, so no answer sent before is lost. Messages that still arrive
        are passed on, but can no longer be answered.

        Args:
            timeout_s: Time limit in seconds; after it the connection is closed anyway.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if self._guard is not None and self._stream is not None:
                    self._commands.close()
                    self._stream.write_eof()
                    await self._ended.wait()
        except OSError:  # TimeoutError is one, too
            pass
        finally:
            self.close()

    def close(self, error: NsqkitError | None = None) -> None:
        """Write as many buffered commands as the socket takes now, and close. Final; allowed at any time.

        Args:
            error: Why, for the requests that nsqd has not answered; None if this process needs it no more.
        """
        self._commands.flush()
        self._end(error)

    def abandon(self) -> None:
        """Close the socket of a connection whose event loop does not run any more. Final.

        In a child process after a fork, only the child's copy is closed.
        """
        self._keepalive.stop()
        self._commands.discard()
        if self._stream is not None:
            self._stream.abandon()

    async def wait_closed(self) -> NsqkitError | None:
        """Wait until the connection has ended, and return why; None after :meth:`close`."""
        await self._ended.wait()
        return self.error

    async def _shake_hands(self, stream: Stream) -> None:
        if self._ended.is_set():  # closed while connecting: must not open
            stream.close()
            raise self._lost()
        wire = Wire(stream)
        limits = await Handshake(self.address, self._options.refresh(self._options), wire).run()
        if self._ended.is_set():  # closed before the last answer arrived
            raise self._lost()
        self._take_limits(limits)
        self._commands.open(wire)
        self._keepalive.start(self.heartbeat_s)
        self._guard = asyncio.create_task(self._end_with_loop())
        wire.listen(self._on_chunk, self._on_stream_end, self._keepalive.heard)

    def _take_limits(self, limits: IdentifyReply) -> None:
        self.limits = limits
        self.lease_s, self.max_lease_s = limits.msg_timeout_s, limits.max_msg_timeout_s
        self.longest_hold_s = lease.longest_hold_s(self.lease_s, self.max_lease_s)

    def _on_silent(self) -> None:
        self._end(ConnectionLostError(self.address, "sent nothing for two heartbeats"))

    def _on_stream_end(self, error: Exception) -> None:
        self._end(failure_of(self.address, error))

    async def _end_with_loop(self) -> None:
        """End when all tasks are cancelled, as ``asyncio.run`` does before it closes the event loop."""
        try:
            await self._ended.wait()
        finally:
            self._end(self._lost())

    def _on_chunk(self, chunk: bytes, received_s: float) -> None:
        messages, others = self._frames.feed(chunk, self, received_s)
        if messages:
            self._hand_on(messages)
        for kind, data in others:
            if self._ended.is_set():
                return
            self._on_frame(kind, data)

    def _hand_on(self, messages: Sequence[Message]) -> None:
        self.received += len(messages)
        newest = messages[-1]
        now_s = time.time() - (self._skews_ns[self.address] or 0) / 1e9
        self.age_s = now_s - newest.timestamp_ns / 1e9 if newest.attempts == 1 else 0.0
        try:
            self._on_messages(messages)
        except Exception as error:  # noqa: BLE001 - one message must not end the connection
            context = {"message": f"on_messages failed for {messages!r}", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        self._commands.flush_soon()  # after what the messages have started, which then answers in one write
        if self.received - self.answered > _MOST_PER_RDY * self._most_rdy + _MOST_UNASKED:
            raise ConnectionLostError(self.address, f"ignores RDY {self.rdy}: sends without end")

    def _on_frame(self, kind: int, data: bytes) -> None:
        if kind == protocol.FRAME_TYPE_ERROR:
            if (command := settle_failure(data)) is not None:
                self._on_settle_failure(command)
            else:  # all others are fatal: nsqd closes the connection
                self._end(refusal(self.address, data))
        elif kind != protocol.FRAME_TYPE_RESPONSE:
            raise ConnectionLostError(self.address, f"sent a frame of unknown type {kind}")
        elif data == b"_heartbeat_":
            self._commands.answer_heartbeat()
        elif not self._replies.answer(data):
            raise ConnectionLostError(self.address, f"sent an unexpected answer: {data[:64]!r}")

    def _end(self, error: NsqkitError | None) -> None:
        if self._ended.is_set():
            return
        self.error = error
        self._ended.set()
        self._keepalive.stop()
        self._commands.discard()
        if self._stream is not None:
            self._stream.close()
        self._replies.fail(error if isinstance(error, RefusedError) else self._lost(), self._lost)
        self._on_end()

    def _lost(self) -> NsqkitError:
        return lost(self.address, self.error)
