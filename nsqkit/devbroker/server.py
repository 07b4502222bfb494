"""The broker's TCP side: sockets, heartbeats and one timer around sessions and the ledger.

It decides nothing about messages; see ``session`` and ``ledger``.

Source:
    nsqd/tcp.go, nsqd/protocol_v2.go (IOLoop, messagePump).
"""

import asyncio
import socket
from collections.abc import Callable, Iterable

from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.listen import address_text, close
from nsqkit.devbroker.message import Copy
from nsqkit.devbroker.output import OutputBuffer
from nsqkit.devbroker.session import Session
from nsqkit.devbroker.wire import message_frame, response_frame

_HEARTBEAT = response_frame(b"_heartbeat_")


class Connection(asyncio.Protocol):
    """One client's socket.

    Args:
        server: Whose connection it is.
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
        self._pulse: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet nobody: nsqd waits for the client's magic."""
        self._transport = transport  # type: ignore[assignment]  # TCP gives a Transport
        peer = transport.get_extra_info("peername")
        self.remote_address = address_text(peer)
        self.session = Session(self._server.ledger, peer[0])
        self._heard_s = self._beat_s = self._server.clock()
        self.connected_s = self._server.wall_clock_ns() // 1_000_000_000
        self._server.connections.add(self)
        self._identified()
        if self._server.is_stopped:  # it was accepted just before
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Carry out a chunk of commands and send what follows from it, at once."""
        self._heard_s = self._server.clock()
        before = self.session.identity
        self.session.receive(data, now_s=self._heard_s, timestamp_ns=self._server.wall_clock_ns())
        if self.session.identity is not before:
            self._beat_s = self._heard_s
            self._identified()
        self._server.settle(self)

    def eof_received(self) -> None:
        """Tell a client that hangs up in the middle of a body; asyncio then closes."""
        self.session.cut_short()
        self._server.settle(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """Leave the channel; what is in flight stays so until its timeout."""
        for timer in (self._pulse, self._stuck):
            if timer is not None:
                timer.cancel()
        self.session.open = False
        self._server.leave(self)
        self._server.connections.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Do nothing more for a client that does not read, and close it if it does not for long."""
        self._is_full = True
        self._transport.pause_reading()
        self._set_blocked(blocked=True)
        if self.session.identity.heartbeat_s is not None:
            loop = asyncio.get_running_loop()
            self._stuck = loop.call_later(self.session.identity.heartbeat_s, self.abort)

    def resume_writing(self) -> None:
        """Listen to a client that reads again, then go on sending."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None
        self._is_full = False
        self._transport.resume_reading()
        asyncio.get_running_loop().call_later(0, self._go_on)  # after what it has said meanwhile

    def deliver(self, copy: Copy) -> None:
        """Send a message, or hold it back with others."""
        self._write(self.output.put(message_frame(copy)))

    def reply(self) -> None:
        """Write all replies that wait, after what is held back; close if the session is over."""
        if self.session.out:
            self._write(self.output.flush() + b"".join(self.session.out))
            self.session.out.clear()
        if not self.session.open:
            self._transport.close()

    def look(self, *, now_s: float) -> None:
        """Write what is held back if the client is ready for no more, or it was held for long enough."""
        consumer = self.session.consumer
        if consumer is None or consumer.channel.paused or consumer.in_flight_count >= consumer.ready_count:
            self._write(self.output.flush())
        else:
            self._write(self.output.tick(now_s=now_s))

    def end(self) -> None:
        """Leave the channel, and close the socket after what is written."""
        self.session.open = False
        self._server.leave(self)
        self.reply()

    def abort(self) -> None:
        """Close the socket now."""
        self._transport.abort()

    def _write(self, data: bytes) -> None:
        if data:
            self._transport.write(data)

    def _go_on(self) -> None:
        if self.session.open and not self._is_full:
            self._set_blocked(blocked=False)
            self._server.settle()

    def _set_blocked(self, *, blocked: bool) -> None:
        if self.session.consumer is not None:
            self._server.ledger.block(self.session.consumer, blocked=blocked)

    def _identified(self) -> None:
        """Begin anew with what is negotiated: the output buffer's ticks, and the heartbeats."""
        identity = self.session.identity
        self.output = OutputBuffer(
            identity.output_buffer_bytes, identity.output_buffer_ms / 1000, now_s=self._server.clock()
        )
        self._schedule_pulse()

    def _schedule_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None
        interval_s = self.session.identity.heartbeat_s
        if interval_s is not None:
            due_s = min(self._beat_s + interval_s, self._heard_s + 2 * interval_s)
            delay_s = max(0.0, due_s - self._server.clock())
            self._pulse = asyncio.get_running_loop().call_later(delay_s, self._on_pulse, interval_s)

    def _on_pulse(self, interval_s: float) -> None:
        """Send a heartbeat when one is due, or close after two of silence."""
        if not self.session.open:
            self.abort()  # it was closed an interval ago and still does not read what is left
            return
        now_s = self._server.clock()
        if now_s - self._heard_s >= 2 * interval_s:
            self.session.cut_short()
            self.end()
            return
        if now_s - self._beat_s >= interval_s:
            self._beat_s = now_s
            self.session.out.append(_HEARTBEAT)
            self.reply()
        self._schedule_pulse()


class TcpServer:
    """All connections of a broker, and the ledger's timer.

    Args:
        ledger: The broker's state.
        clock: Seconds on a clock that never goes back.
        wall_clock_ns: Nanoseconds since 1970, for messages' timestamps.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float], wall_clock_ns: Callable[[], int]) -> None:
        self.ledger = ledger
        self.clock = clock
        self.wall_clock_ns = wall_clock_ns
        self.connections: set[Connection] = set()
        self.is_stopped = False
        self._by_consumer: dict[Consumer, Connection] = {}
        self._holding: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    async def listen(self, bound: socket.socket) -> None:
        """Accept clients on a bound socket."""
        self.is_stopped = False
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=bound)

    async def stop(self, *, within_s: float = 1.0) -> None:
        """Close the listener, all connections and the timer."""
        self.is_stopped = True
        if self._server is not None:
            await close(self._server)
        self._cancel_timer()
        connections = tuple(self.connections)
        for connection in connections:
            connection.end()
        if connections:
            await asyncio.wait([connection.closed for connection in connections], timeout=within_s)
        for connection in tuple(self.connections):
            connection.abort()
            await connection.closed

    def settle(self, connection: Connection | None = None) -> None:
        """Send what the ledger's last changes make deliverable, and set the timer.

        Args:
            connection: Whose replies wait to be written too.
        """
        now_s = self.clock()
        if connection is not None:
            self._note(connection)
            connection.reply()
        for consumer, copy in self.ledger.deliver(now_s=now_s):
            receiver = self._by_consumer[consumer]
            receiver.deliver(copy)
            self._holding.add(receiver)
        for receiver in tuple(self._holding):
            receiver.look(now_s=now_s)
            if not receiver.output.held_bytes:
                self._holding.discard(receiver)
        self._set_timer()

    def wake(self) -> None:
        """Requeue what timed out, queue what was deferred until now, and send it."""
        self.ledger.expire(now_s=self.clock())
        self.settle()

    def disconnect(self, consumers: Iterable[Consumer]) -> None:
        """Close the connections of consumers whose channel is gone."""
        for consumer in consumers:
            self._by_consumer[consumer].end()

    def connection_of(self, consumer: Consumer) -> Connection:
        """Return the connection of a consumer that is subscribed over TCP."""
        return self._by_consumer[consumer]

    def leave(self, connection: Connection) -> None:
        """Deliver nothing more to a connection that closes."""
        if connection.session.consumer is not None:
            self._by_consumer.pop(connection.session.consumer, None)
        self._holding.discard(connection)
        connection.session.end()

    def _note(self, connection: Connection) -> None:
        """See whether the last chunk subscribed a connection or ended its session."""
        consumer = connection.session.consumer
        if not connection.session.open:
            self.leave(connection)
        elif consumer is not None:
            self._by_consumer[consumer] = connection

    def _set_timer(self) -> None:
        """Wake at the earliest deadline; a timer that is too early is left, and sets itself anew."""
        deadline_s = self._next_deadline_s()
        if deadline_s is None or (self._timer is not None and self._timer_s <= deadline_s):
            return
        self._cancel_timer()
        delay_s = max(0.0, deadline_s - self.clock())
        self._timer_s = deadline_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _next_deadline_s(self) -> float | None:
        deadlines = [connection.output.deadline_s() for connection in self._holding]
        deadlines.append(self.ledger.next_deadline_s())
        return min((deadline_s for deadline_s in deadlines if deadline_s is not None), default=None)

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
