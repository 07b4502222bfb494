"""Command buffer: joins the commands of one turn of the event loop into one write."""

import asyncio
from collections.abc import Callable

from nsq import protocol
from nsqkit.nsq.wire import Wire

_NOP = protocol.nop()


class CommandBuffer:
    """Collects the commands of one connection; it accepts none before :meth:`open` and after its end.

    Args:
        before_write: Called before each write; commands that it adds are part of the same write.
    """

    __slots__ = ("_before_write", "_commands", "_is_due", "_rdy", "_sent_rdy", "_wire")

    def __init__(self, before_write: Callable[[], None]) -> None:
        self._before_write = before_write
        self._commands: list[bytes] = []
        self._is_due = False
        self._rdy = self._sent_rdy = 0
        self._wire: Wire | None = None

    def open(self, wire: Wire) -> None:
        """Accept commands from now on, and write them to *wire*."""
        self._wire = wire

    def send(self, command: bytes) -> bool:
        """Send a command at the end of this turn of the event loop.

        Returns:
            Whether the connection was open and accepted the command.
        """
        if self._wire is None:
            return False
        self._commands.append(command)
        if not self._is_due:
            self.flush_soon()
        return True

    def ready(self, rdy: int) -> None:
        """Send RDY at the end of this turn, unless it changes back until then.

        nsqd reads a lower RDY before the other commands of the turn: a FIN must not make room for a message.
        """
        self._rdy = rdy
        self.flush_soon()

    def answer_heartbeat(self) -> None:
        """Send a NOP at the end of this turn, one for several heartbeats in a row."""
        if not self._commands or self._commands[-1] != _NOP:
            self.send(_NOP)

    def is_lost(self) -> bool:
        """Return whether no command can be sent: before :meth:`open`, and after the end."""
        return self._wire is None

    def flush_soon(self) -> None:
        """Flush in the next turn of the event loop, after what is already scheduled for it."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write the buffered commands if there are any or :meth:`flush_soon` was called."""
        if not self._is_due or self._wire is None:
            return
        self._before_write()
        self._is_due = False
        commands, self._commands = self._commands, []
        if self._rdy != self._sent_rdy:
            commands.insert(0 if self._rdy < self._sent_rdy else len(commands), protocol.ready(self._rdy))
            self._sent_rdy = self._rdy
        if commands:
            self._wire.write(b"".join(commands))

    def close(self) -> None:
        """Write the buffered commands, and accept no more."""
        self.flush()
        self.discard()

    def discard(self) -> None:
        """Drop the buffered commands, and accept no more."""
        self._commands, self._wire = [], None
