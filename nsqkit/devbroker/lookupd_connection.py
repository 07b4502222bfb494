"""One nsqd's socket on the embedded nsqlookupd, around a session. It makes no decision about topics."""

import asyncio
from typing import TYPE_CHECKING

from nsqkit.devbroker.listen import address_text
from nsqkit.devbroker.lookupd_session import LookupSession

if TYPE_CHECKING:
    from nsqkit.devbroker.lookupd import DevLookupd


class LookupConnection(asyncio.Protocol):
    """One nsqd's connection.

    Args:
        lookupd: The nsqlookupd that accepted it.
    """

    def __init__(self, lookupd: "DevLookupd") -> None:
        self.closed = asyncio.get_running_loop().create_future()
        self._lookupd = lookupd
        self._transport: asyncio.Transport
        self._session: LookupSession

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the connection; like nsqlookupd, send nothing before the magic."""
        self._transport = transport  # type: ignore[assignment]  # TCP gives a Transport
        remote_address = address_text(transport.get_extra_info("peername"))
        self._session = LookupSession(self._lookupd.registry, remote_address, self._lookupd.info)
        self._lookupd.connections.add(self)
        if self._lookupd.is_stopped:  # it was accepted just before the stop
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Execute a chunk of commands, reply, and close if the session is over."""
        self._session.receive(data, now_s=self._lookupd.clock())
        self._reply()

    def eof_received(self) -> None:
        """Send an error to an nsqd that hangs up in the middle of a body; asyncio then closes."""
        self._session.input_ended()
        self._reply()

    def pause_writing(self) -> None:
        """Stop reading from an nsqd that does not read its replies."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read from the nsqd again."""
        self._transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        """Remove the nsqd from the registry."""
        self._session.end()
        self._lookupd.connections.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)

    def _reply(self) -> None:
        self._transport.writelines(self._session.out)
        self._session.out.clear()
        if not self._session.open:
            self._transport.close()

    def abort(self) -> None:
        """Close the socket now."""
        self._transport.abort()
