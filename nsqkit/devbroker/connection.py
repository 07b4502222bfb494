"""One client's socket on the embedded broker: writes, the output buffer and heartbeats around a session.

It makes no decision about messages; see ``session`` and ``ledger``.

Source:
    nsqd/protocol_v2.go (IOLoop, messagePump).
"""

import asyncio
from typing import TYPE_CHECKING

from nsqkit.devbroker.listen import address_text
from nsqkit.devbroker.message import Copy
from nsqkit.devbroker.output import OutputBuffer
from nsqkit.devbroker.session import Session
from nsqkit.devbroker.wire import message_frame, response_frame

if TYPE_CHECKING:
    from nsqkit.devbroker.server import TcpServer

_HEARTBEAT = response_frame(b"_heartbeat_")


class Connection(asyncio.Protocol):
    """One client's socket.

    Args:
        server: The server that accepted it.
    """

    def __init__(self, server: "TcpServer") -> None:
        self.connected_s = 0
        self.remote_address = ""
        self.session: Session
        self.output: OutputBuffer
        self.closed = asyncio.get_running_loop().create_future()
        self._server = server
        self._transport: asyncio.Transport
        self._is_full = False
        self._heard_s = 0.0
        self._beat_s = 0.0
        self._heartbeat_timer: asyncio.TimerHandle | None = None
        self._stuck_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection; like nsqd, send nothing before the client's magic."""
        self._transport = transport  # type: ignore[assignment]  # TCP gives a Transport
        peer = transport.get_extra_info("peername")
        self.remote_address = address_text(peer)
        self.session = Session(self._server.ledger, peer[0])
        self._heard_s = self._beat_s = self._server.now_s()
        self.connected_s = self._server.now_ns() // 1_000_000_000
        self._server.connections.add(self)
        self._identified()
        if self._server.is_stopped:  # it was accepted just before the stop
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Execute a chunk of commands and send the results at once."""
        self._heard_s = self._server.now_s()
        before = self.session.identity
        self.session.receive(data, now_s=self._heard_s, timestamp_ns=self._server.now_ns())
        if self.session.identity is not before:
            self._beat_s = self._heard_s
            self._identified()
        self._server.send_pending(self)

    def eof_received(self) -> None:
        """Send an error to a client that hangs up in the middle of a body; asyncio then closes."""
        self.session.input_ended()
        self._server.send_pending(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Leave the channel; messages in flight stay so until they time out."""
        for timer in (self._heartbeat_timer, self._stuck_timer):
            if timer is not None:
                timer.cancel()
        self.session.open = False
        self._server.leave(self)
        self._server.connections.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Stop serving a client that does not read, and close it after one heartbeat interval."""
        self._is_full = True
        self._transport.pause_reading()
        self._set_blocked(blocked=True)
        if self.session.identity.heartbeat_s is not None:
            loop = asyncio.get_running_loop()
            self._stuck_timer = loop.call_later(self.session.identity.heartbeat_s, self.abort)

    def resume_writing(self) -> None:
        """Read from the client again, then continue to send."""
        if self._stuck_timer is not None:
            self._stuck_timer.cancel()
            self._stuck_timer = None
        self._is_full = False
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(0, self._unblock)  # after commands that have arrived

    def deliver(self, copy: Copy) -> None:
        """Send a message, or keep it in the output buffer."""
        self._write(self.output.put(message_frame(copy)))

    def reply(self) -> None:
        """Write the output buffer, then all pending replies; close if the session is over."""
        if self.session.out:
            self._write(self.output.flush() + b"".join(self.session.out))
            self.session.out.clear()
        if not self.session.open:
            self._transport.close()

    def flush_if_due(self, *, now_s: float) -> None:
        """Write the output buffer if the client takes no more messages, or the buffer's time is up."""
        consumer = self.session.consumer
        if consumer is None or consumer.channel.paused or consumer.in_flight_count >= consumer.ready_count:
            self._write(self.output.flush())
        else:
            self._write(self.output.tick(now_s=now_s))

    def end(self) -> None:
        """Leave the channel, and close the socket once everything is written."""
        self.session.open = False
        self._server.leave(self)
        self.reply()

    def abort(self) -> None:
        """Close the socket now."""
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        if data:
            self._transport.write(data)

    def _unblock(self) -> None:
        if self.session.open and not self._is_full:
            self._set_blocked(blocked=False)
            self._server.send_pending()

    def _set_blocked(self, *, blocked: bool) -> None:
        if self.session.consumer is not None:
            self._server.ledger.block(self.session.consumer, blocked=blocked)

    def _identified(self) -> None:
        """Apply what was negotiated: start the output buffer and the heartbeats again."""
        identity = self.session.identity
        self.output = OutputBuffer(
            identity.output_buffer_bytes, identity.output_buffer_ms / 1000, now_s=self._server.now_s()
        )
        self._schedule_heartbeat()

    def _schedule_heartbeat(self) -> None:
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
            self._heartbeat_timer = None
        interval_s = self.session.identity.heartbeat_s
        if interval_s is not None:
            due_s = min(self._beat_s + interval_s, self._heard_s + 2 * interval_s)
            delay_s = max(0.0, due_s - self._server.now_s())
            self._heartbeat_timer = asyncio.get_running_loop().call_later(
                delay_s, self._on_heartbeat, interval_s
            )

    def _on_heartbeat(self, interval_s: float) -> None:
        """Send a heartbeat when one is due, or close after two intervals of silence."""
        if not self.session.open:
            self.abort()  # it was closed an interval ago, and the client still has not read the rest
            return
        now_s = self._server.now_s()
        if now_s - self._heard_s >= 2 * interval_s:
            self.session.input_ended()
            self.end()
            return
        if now_s - self._beat_s >= interval_s:
            self._beat_s = now_s
            self.session.out.append(_HEARTBEAT)
            self.reply()
        self._schedule_heartbeat()
