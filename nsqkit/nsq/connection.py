"""One TCP connection to one nsqd: whole chunks in, joined commands out.

It never reconnects, and knows neither other connections nor what a message means. pynsq's
AsyncConn keeps the handshake (IDENTIFY, TLS, compression, AUTH) and the encoder.
"""

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tornado.iostream import IOStream, StreamClosedError

from nsq import AsyncConn, event, protocol
from nsq.conn import CONNECTED, CONNECTING, DISCONNECTED, INIT
from nsqkit.nsq.dial import dial, reason
from nsqkit.nsq.frames import HEADER, TYPE_BYTES, Frames
from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply
from nsqkit.nsq.message import Message
from nsqkit.policy.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.policy.names import channel_problem, topic_problem
from nsqkit.settings import split_address

_CHUNK_BYTES = 65536
_MESSAGE = struct.Struct(">qH16s")  # timestamp_ns, attempts, id; pynsq reads attempts as signed
_LONGEST_HANDSHAKE_FRAME_BYTES = 1 << 20
_SILENT_HEARTBEATS = 2  # nsqd, too, gives a client up after two
_MSG_TIMEOUT_HINT = "; lower msg_timeout_s or the handler's timeout_s, or raise nsqd's --max-msg-timeout"
_SETTLE_FAILURES = {b"E_FIN_FAILED": "FIN", b"E_REQ_FAILED": "REQ", b"E_TOUCH_FAILED": "TOUCH"}


class Connection(AsyncConn):
    """A connection to one nsqd, opened once.

    The one subclass of a third party's class: pynsq awaits two futures per frame and makes a
    system call per answer. Here one task reads, and all commands of one turn of the event loop
    leave in one write.

    Args:
        address: ``host:port`` of nsqd's TCP port; an IPv6 host stands in brackets.
        options: What to ask of nsqd.
        on_message: Called with each delivery as it arrives; it must not block.
        on_settle_failure: Called with ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` when nsqd says that
            such an answer came too late.

    Attributes:
        address: As given.
        topic: The subscribed topic, or empty.
        limits: What nsqd granted; nsqd's defaults before :meth:`open`.
        error: Why the connection ended; None while it lives, and after :meth:`close`.
        received: Deliveries so far.
        answered: How many of them were finished or requeued.

    Raises:
        SettingsError: If *address* is not an address.
    """

    def __init__(
        self,
        address: str,
        options: ConnectionOptions,
        *,
        on_message: Callable[[Message], None] = lambda _: None,
        on_settle_failure: Callable[[str], None] = lambda _: None,
    ) -> None:
        host, port = split_address(address)
        super().__init__(
            host,
            port,
            timeout=float(options.connect_timeout_s),
            heartbeat_interval=options.heartbeat_s,
            user_agent=options.user_agent,
            output_buffer_size=options.output_buffer_bytes,
            output_buffer_timeout=options.output_buffer_ms,
            auth_secret=options.auth_secret,
            msg_timeout=options.msg_timeout_s,
            hostname=options.hostname,
        )
        self.address = address
        self.topic = ""
        self.limits = IdentifyReply()
        self.error: NsqkitError | None = None
        self.received = 0
        self.answered = 0
        self._client_id = options.client_id
        self._on_message = on_message
        self._on_settle_failure = on_settle_failure
        self._ended = asyncio.Event()
        self._replies: deque[asyncio.Future[bytes]] = deque()  # in the order of their requests
        self._commands: list[bytes] = []  # leave together at the end of this turn of the loop
        self._is_open = False
        self._takes_commands = True
        self._takes_ready = True
        self._silent_heartbeats = 0
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> IdentifyReply:
        """Connect and shake hands.

        Returns:
            What nsqd granted.

        Raises:
            ConnectionLostError: If nsqd cannot be reached, stays silent, closes the connection,
                or is no nsqd; or if :meth:`close` was called.
            RefusedError: If nsqd refuses what IDENTIFY or AUTH says, or demands a secret.
            RuntimeError: If it was opened before.
        """
        if self._ended.is_set():
            raise self._lost()
        if self.state != INIT:
            raise RuntimeError("a Connection is opened once")
        self.state = CONNECTING
        try:
            self.stream = await dial(self.host, self.port, self.timeout)
            self.socket = self.stream.socket
            async with asyncio.timeout(self.timeout):
                await self._shake_hands(self.stream)
        except OSError as error:  # TimeoutError is one, too
            self._end(ConnectionLostError(self.address, reason(error)))
            raise self._lost() from error
        except BaseException as error:  # cancelled, or refused: nothing stays open
            self._end(error if isinstance(error, NsqkitError) else None)
            raise
        return self.limits

    async def subscribe(self, topic: str, channel: str) -> None:
        """Ask for one channel's messages; they come once :meth:`ready` allows them.

        Raises:
            ConnectionLostError: If the connection ended before nsqd's OK.
            RefusedError: If nsqd refused; the connection has then ended.
            ValueError: If a name is not valid.
        """
        if problem := topic_problem(topic) or channel_problem(channel):
            raise ValueError(problem)
        self.topic = topic
        await self.request(protocol.subscribe(topic, channel))

    def ready(self, count: int) -> None:
        """Allow so many messages in flight, at most nsqd's max_rdy_count; 0 stops the intake."""
        count = min(count, self.limits.max_rdy_count)
        if count != self.rdy and self._takes_ready:
            self.rdy = count
            self.send(protocol.ready(count))

    def request(self, command: bytes) -> asyncio.Future[bytes]:
        """Send a command that nsqd answers, and return its answer to come.

        Answers come in the order of the commands. The future fails with RefusedError or
        ConnectionLostError; cancelling it does not disturb the others.
        """
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if self.send(command):
            self._replies.append(reply)
        else:
            reply.set_exception(self._lost())
        return reply

    def send(self, data: bytes) -> bool:
        """Send a command at the end of this turn of the event loop.

        Returns:
            Whether the connection was alive to take it.
        """
        if not self._takes_commands or self.stream is None or self.stream.closed():
            return False
        if not self._commands:
            asyncio.get_running_loop().call_soon(self._flush)
        self._commands.append(data)
        return True

    def settle(self, command: bytes) -> bool:
        """Send the FIN or REQ of a message; see :meth:`send`."""
        self.answered += 1
        return self.send(command)

    async def close_wait(self) -> None:
        """End the intake for good (CLS) and wait for nsqd's CLOSE_WAIT.

        What nsqd had under way still arrives; answers to messages stay allowed. Does nothing
        without a subscription or when called again.

        Raises:
            ConnectionLostError: If the connection ended before the answer.
            RefusedError: If nsqd refused.
        """
        if not self.topic or not self._takes_ready:
            return
        self._takes_ready = False  # nsqd ignores RDY from here on
        self.rdy = 0
        await self.request(b"CLS\n")  # pynsq has no builder for it

    async def half_close(self, timeout_s: float) -> None:
        """Send what waits, close the sending side, read until nsqd closes its own, then close.

        nsqd closes once it has read everything, so that no answer sent before is lost. Messages
        that still arrive are handed on, but can no longer be answered.

        Args:
            timeout_s: For all of it, in seconds; then it is closed all the same.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if self._is_open and self.stream is not None and self.socket is not None:
                    self._flush()
                    self._takes_commands = False
                    await self.stream.write(b"")  # is done when all before it has left
                    self.socket.shutdown(socket.SHUT_WR)
                    await self._ended.wait()
        except OSError:  # TimeoutError is one, too
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Send what waits as far as the socket takes it now, and close. Final; may come at any time."""
        self._flush()
        self._end(None)

    async def wait_closed(self) -> NsqkitError | None:
        """Wait until the connection has ended, and return why; None after :meth:`close`."""
        await self._ended.wait()
        return self.error

    async def _shake_hands(self, stream: IOStream) -> None:
        if self._ended.is_set():  # closed while connecting: must not become live
            stream.close()
            raise self._lost()
        accepted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._replies.append(accepted)
        self.on(event.CONNECT, self._on_connect)
        self.on(event.IDENTIFY, self._before_identify)
        self.on(event.IDENTIFY_RESPONSE, self._before_features)
        self.on(event.READY, self._on_ready)
        self.on(event.ERROR, self._on_handshake_error)
        self.state = CONNECTED
        stream.write(protocol.MAGIC_V2)
        self._start_read()
        self.trigger(event.CONNECT, conn=self)
        await accepted

    def _before_identify(self, data: dict[str, object], **_: object) -> None:
        if self._client_id is not None:
            data["client_id"] = self._client_id

    def _before_features(self, data: dict[str, Any], **_: object) -> None:
        """Refuse here, where raising stops pynsq: it would go on without TLS or without AUTH."""
        if self.tls_v1 and not data.get("tls_v1"):
            raise RefusedError(self.address, "E_INVALID", "it has no TLS, which is required here")
        if data.get("auth_required") and not self.auth_secret:
            raise RefusedError(self.address, "E_AUTH_FIRST", "it requires an auth_secret, and none is set")
        self.limits = IdentifyReply.parse(data)
        data.setdefault("max_rdy_count", self.limits.max_rdy_count)  # or pynsq warns, by a deprecated call

    def _on_ready(self, **_: object) -> None:
        self._is_open = True
        self._heartbeat()
        self._reply(b"")

    def _on_handshake_error(self, error: Exception, **_: object) -> None:
        self._end(ConnectionLostError(self.address, str(error)))

    def _start_read(self) -> None:
        # pynsq calls this once connected, and again when TLS has replaced the stream.
        if self._ended.is_set() and self.stream is not None:
            self.stream.close()
        elif self.stream is not None:
            self._reader = asyncio.create_task(self._read(self.stream))

    async def _read(self, stream: IOStream) -> None:
        try:
            # Frame by frame at first: TLS and compression take the socket over between two frames.
            while self.stream is stream and not self._is_open:
                await self._read_frame(stream)
            while self.stream is stream and not self._ended.is_set():
                await self._read_chunks(stream)
        except StreamClosedError as error:
            self._end(ConnectionLostError(self.address, reason(error)))
        except NsqkitError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - whatever else an answer that makes no sense sets off
            self._end(ConnectionLostError(self.address, f"answered nonsense: {error!r}"))

    async def _read_frame(self, stream: IOStream) -> None:
        header = await stream.read_bytes(HEADER.size)
        size, kind = HEADER.unpack(header)
        if not TYPE_BYTES <= size <= _LONGEST_HANDSHAKE_FRAME_BYTES:
            hint = "its HTTP port; give its TCP port" if header.startswith(b"HTTP") else "no nsqd"
            raise ConnectionLostError(self.address, f"this is {hint}")
        data = await stream.read_bytes(size - TYPE_BYTES) if size > TYPE_BYTES else b""
        self._on_frame(kind, data)

    async def _read_chunks(self, stream: IOStream) -> None:
        frames = Frames()
        while not self._ended.is_set():
            chunk = await stream.read_bytes(_CHUNK_BYTES, partial=True)
            self._silent_heartbeats = 0
            received_s = time.monotonic()
            for kind, data in frames.feed(chunk):
                if self._ended.is_set():
                    return
                if kind == protocol.FRAME_TYPE_MESSAGE:
                    self._on_message_frame(data, received_s)
                else:
                    self._on_frame(kind, data)

    def _on_message_frame(self, data: bytes, received_s: float) -> None:
        timestamp_ns, attempts, id_ = _MESSAGE.unpack_from(data)
        self.received += 1
        message = Message(
            id_,
            data[_MESSAGE.size :],
            timestamp_ns,
            attempts,
            self.address,
            self.topic,
            received_s,
            self.limits.msg_timeout_s,
            self,
        )
        try:
            self._on_message(message)
        except Exception as error:  # noqa: BLE001 - one message's failure must not take the connection along
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"on_message failed for {message!r}", "exception": error},
            )

    def _on_frame(self, kind: int, data: bytes) -> None:
        if kind == protocol.FRAME_TYPE_ERROR:
            self._on_error_frame(data)
        elif kind != protocol.FRAME_TYPE_RESPONSE:
            raise ConnectionLostError(self.address, f"sent a frame of unknown type {kind}")
        elif data == b"_heartbeat_":
            self.send(protocol.nop())
        elif self._is_open:
            self._reply(data)
        else:
            if data != b"OK":
                json.loads(data)  # raises; pynsq would close first, and the reason be lost
            self.trigger(event.RESPONSE, conn=self, data=data)

    def _reply(self, data: bytes) -> None:
        if not self._replies:
            raise ConnectionLostError(self.address, f"sent an answer to nothing: {data[:64]!r}")
        reply = self._replies.popleft()
        if not reply.done():  # its caller may have given up
            reply.set_result(data)

    def _on_error_frame(self, data: bytes) -> None:
        code, _, description = data.partition(b" ")
        if code in _SETTLE_FAILURES:
            self._on_settle_failure(_SETTLE_FAILURES[code])
            return
        # All others are fatal: nsqd closes the connection.
        hint = _MSG_TIMEOUT_HINT if b"IDENTIFY msg timeout" in description else ""
        self._end(RefusedError(self.address, _text(code), _text(description) + hint))

    def _flush(self) -> None:
        commands, self._commands = self._commands, []
        if commands and self.stream is not None and not self.stream.closed():
            self.stream.write(self.encoder.encode(b"".join(commands)))

    def _heartbeat(self) -> None:
        # Counts turns of a timer, not seconds: a loop that was blocked for long finds at most one
        # silent turn, and reads what waits before the next.
        if self._silent_heartbeats >= _SILENT_HEARTBEATS:
            self._end(ConnectionLostError(self.address, "sent nothing for two heartbeats"))
            return
        self._silent_heartbeats += 1
        self._heartbeat_timer = asyncio.get_running_loop().call_later(
            self.heartbeat_interval / 1000, self._heartbeat
        )

    def _end(self, error: NsqkitError | None) -> None:
        if self._ended.is_set():
            return
        self.error = error
        self.state = DISCONNECTED
        self._ended.set()
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        if self.stream is not None:
            self.stream.close()
        # Only the oldest request is to blame for a refusal; pynsq's Writer fails them all with it.
        blamed = error if isinstance(error, RefusedError) else self._lost()
        while self._replies:
            reply = self._replies.popleft()
            if not reply.done():
                reply.set_exception(blamed)
            blamed = self._lost()

    def _lost(self) -> NsqkitError:
        match self.error:
            case ConnectionLostError(address=address, reason=reason):
                return ConnectionLostError(address, reason)
            case None:
                return ConnectionLostError(self.address, "closed here")
            case error:
                return ConnectionLostError(self.address, f"closed: {error}")


def _text(answer: bytes) -> str:
    return answer.decode(errors="replace")
