"""The broker's TCP server: its connections, and one timer around the ledger.

It makes no decision about messages; see ``session`` and ``ledger``.

Source:
    nsqd/tcp.go, nsqd/protocol_v2.go (messagePump).
"""

import asyncio
import socket
from collections.abc import Iterable

from nsqkit.devbroker.clocks import Clocks
from nsqkit.devbroker.connection import Connection
from nsqkit.devbroker.consumer import Consumer
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.listen import close


class TcpServer:
    """All connections of a broker, and the ledger's timer.

    Args:
        ledger: The broker's state.
        clocks: The clocks to read.
    """

    def __init__(self, ledger: Ledger, clocks: Clocks) -> None:
        self.ledger = ledger
        self.now_s = clocks.monotonic_s
        self.now_ns = clocks.wall_ns
        self.connections: set[Connection] = set()
        self.is_stopped = False
        self._by_consumer: dict[Consumer, Connection] = {}
        self._buffering: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    async def listen(self, bound: socket.socket) -> None:
        """Accept clients on a bound socket."""
        self.is_stopped = False
        self._server = await asyncio.get_running_loop().create_server(lambda: Connection(self), sock=bound)

    async def stop(self, *, within_s: float = 1.0) -> None:
        """Close the listener, the timer and all connections.

        Args:
            within_s: Seconds that clients have to read what was sent; then their sockets are closed.
        """
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

    def send_pending(self, connection: Connection | None = None) -> None:
        """Send every message that has become deliverable, and set the timer.

        Args:
            connection: A connection that has just executed commands; its replies are written first.
        """
        now_s = self.now_s()
        if connection is not None:
            self._update(connection)
            connection.reply()
        for consumer, copy in self.ledger.deliver(now_s=now_s):
            receiver = self._by_consumer[consumer]
            receiver.deliver(copy)
            self._buffering.add(receiver)
        for receiver in tuple(self._buffering):
            receiver.flush_if_due(now_s=now_s)
            if not receiver.output.held_bytes:
                self._buffering.discard(receiver)
        self._set_timer()

    def wake(self) -> None:
        """Requeue deliveries that timed out, queue deferred messages that are due, and send them."""
        self.ledger.expire(now_s=self.now_s())
        self.send_pending()

    def disconnect(self, consumers: Iterable[Consumer]) -> None:
        """Close the connections of these consumers, whose channel was deleted."""
        for consumer in consumers:
            self._by_consumer[consumer].end()

    def connection_of(self, consumer: Consumer) -> Connection:
        """Return the connection of a consumer that is subscribed over TCP."""
        return self._by_consumer[consumer]

    def leave(self, connection: Connection) -> None:
        """Stop delivering to a connection, which closes."""
        if connection.session.consumer is not None:
            self._by_consumer.pop(connection.session.consumer, None)
        self._buffering.discard(connection)
        connection.session.end()

    def _update(self, connection: Connection) -> None:
        """Follow what the last chunk did: subscribe the connection, or end its session."""
        consumer = connection.session.consumer
        if not connection.session.open:
            self.leave(connection)
        elif consumer is not None:
            self._by_consumer[consumer] = connection

    def _set_timer(self) -> None:
        """Wake at the earliest deadline; an earlier timer stays, and sets the next one when it fires."""
        deadline_s = self._next_deadline_s()
        if deadline_s is None or (self._timer is not None and self._timer_s <= deadline_s):
            return
        self._cancel_timer()
        delay_s = max(0.0, deadline_s - self.now_s())
        self._timer_s = deadline_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._on_timer)

    def _next_deadline_s(self) -> float | None:
        deadlines = [connection.output.deadline_s() for connection in self._buffering]
        deadlines.append(self.ledger.next_deadline_s())
        return min((deadline_s for deadline_s in deadlines if deadline_s is not None), default=None)

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
