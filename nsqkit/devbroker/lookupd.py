"""The embedded nsqlookupd as a whole: connects its registry, its TCP server and its HTTP server.

For development and tests only. Its replies and their timing follow nsqlookupd 1.3.0.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from nsqkit.devbroker.http import http_server
from nsqkit.devbroker.limits import VERSION
from nsqkit.devbroker.listen import address_text, bind, check_ports, close, reachable_host
from nsqkit.devbroker.lookupd_api import LookupApi
from nsqkit.devbroker.lookupd_connection import LookupConnection
from nsqkit.devbroker.lookupd_registry import Registry

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer

_log = logging.getLogger("nsqkit.devbroker")


class DevLookupd:
    """An nsqlookupd in this process; any nsqd can register with it.

    Args:
        tcp_port: Port on which nsqd register, 0 for a free one; nsqlookupd's default is 4160.
        http_port: Port for lookups over HTTP, 0 for a free one; nsqlookupd's default is 4161.
        host: Address to listen on; by default loopback.
        broadcast_address: The address that it gives to nsqd; empty for *host*.
        inactive_s: Seconds without a ping after which an nsqd is no longer listed; above 0.
        tombstone_s: Seconds for which a tombstone hides an nsqd; above 0.
        clock: Returns seconds on a clock that never goes back.

    Raises:
        SettingsError: If a port is not in 0..65535.
    """

    def __init__(
        self,
        tcp_port: int = 4160,
        http_port: int = 4161,
        host: str = "127.0.0.1",
        *,
        broadcast_address: str = "",
        inactive_s: float = 300.0,
        tombstone_s: float = 45.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = Registry(inactive_s=inactive_s, tombstone_s=tombstone_s)
        self.clock = clock
        self.info: dict[str, str | int] = {}
        self.connections: set[LookupConnection] = set()
        self.tcp_address = ""
        self.http_address = ""
        self._host = host
        self._broadcast_address = broadcast_address or reachable_host(host)
        self._ports = {"lookupd_tcp_port": tcp_port, "lookupd_http_port": http_port}
        check_ports(self._ports)
        self._tcp: asyncio.Server | None = None
        self._http: HTTPServer | None = None

    async def start(self) -> None:
        """Listen on both ports of the running loop.

        Raises:
            SettingsError: If a port is in use or the host is not an address of this machine.
        """
        tcp, http = await bind(self._host, self._ports)
        self.tcp_address, self.http_address = map(address_text, (tcp.getsockname(), http.getsockname()))
        self.info = {
            "tcp_port": tcp.getsockname()[1],
            "http_port": http.getsockname()[1],
            "version": VERSION,
            "broadcast_address": self._broadcast_address,
            "hostname": socket.gethostname(),
        }
        self._tcp = await asyncio.get_running_loop().create_server(lambda: LookupConnection(self), sock=tcp)
        self._http = http_server(LookupApi(self.registry, self.clock).routes)
        self._http.add_socket(http)
        _log.info(
            "embedded nsqlookupd listens on tcp %s and http %s: for development and tests only",
            self.tcp_address,
            self.http_address,
        )

    @property
    def is_stopped(self) -> bool:
        """Whether it accepts no connections."""
        return self._tcp is None

    async def stop(self) -> None:
        """Close both ports and all connections; does nothing if it is not running."""
        http, self._http = self._http, None
        if http is not None:
            http.stop()
            await http.close_all_connections()
        tcp, self._tcp = self._tcp, None
        if tcp is not None:
            await close(tcp)
        closing = tuple(self.connections)
        for connection in closing:
            connection.abort()
        await asyncio.gather(*(connection.closed for connection in closing))
