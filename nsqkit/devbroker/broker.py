"""The embedded broker as a whole: the one place where ledger, TCP and HTTP servers are wired.

For development and tests only: messages are kept in memory and go with the process.
"""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable
from functools import partial
from random import SystemRandom
from typing import TYPE_CHECKING

from nsqkit.devbroker.api import Api
from nsqkit.devbroker.config import Config
from nsqkit.devbroker.http import http_server
from nsqkit.devbroker.ledger import Ledger
from nsqkit.devbroker.limits import VERSION, Limits
from nsqkit.devbroker.server import TcpServer, address_text
from nsqkit.policy.errors import SettingsError

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer

_BACKLOG = 128
_MAX_PORT = 65_535
_log = logging.getLogger("nsqkit.devbroker")


class DevBroker:
    """A broker in this process that speaks nsqd's TCP and HTTP protocols.

    For development and tests only: one process, messages in memory, no TLS, no AUTH, no
    compression. What it answers and when is nsqd 1.3.0's.

    Args:
        tcp_port: Port for clients, 0 for a free one; nsqd's default is 4150.
        http_port: Port for HTTP, 0 for a free one; nsqd's default is 4151.
        host: Address to listen on; loopback unless told otherwise.
        max_msg_bytes: Largest message body; 1 or more.
        max_body_bytes: Largest body of one command or request, such as MPUB; 1 or more.
        msg_timeout_s: How long a delivery may be held unless its client asks otherwise; above 0.
        max_msg_timeout_s: How long it may be held at most; *msg_timeout_s* or more.
        max_req_timeout_s: Longest requeue delay and deferral; 0 or more.
        clock: Seconds on a clock that never goes back. With one of its own a test calls
            ``wake()`` after it moved the clock.
        wall_clock_ns: Nanoseconds since 1970, for messages' timestamps.

    Raises:
        SettingsError: If a port or a limit is outside its range.
    """

    def __init__(
        self,
        tcp_port: int = 4150,
        http_port: int = 4151,
        host: str = "127.0.0.1",
        *,
        max_msg_bytes: int = 1024 * 1024,
        max_body_bytes: int = 5 * 1024 * 1024,
        msg_timeout_s: float = 60.0,
        max_msg_timeout_s: float = 900.0,
        max_req_timeout_s: float = 3600.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        limits = Limits(
            max_msg_bytes=max_msg_bytes,
            max_body_bytes=max_body_bytes,
            msg_timeout_s=msg_timeout_s,
            max_msg_timeout_s=max_msg_timeout_s,
            max_req_timeout_s=max_req_timeout_s,
        )
        self.ledger = Ledger(limits, draw=partial(SystemRandom().randrange, 100))
        self.tcp_address = ""
        self.http_address = ""
        self._host = host
        self._ports = {"tcp_port": tcp_port, "http_port": http_port}
        for name, port in self._ports.items():
            if not 0 <= port <= _MAX_PORT:
                raise SettingsError(f"{name}={port} is not in 0..{_MAX_PORT}")
        self._wall_clock_ns = wall_clock_ns
        self._tcp = TcpServer(self.ledger, clock, wall_clock_ns)
        self._http: HTTPServer | None = None

    async def start(self) -> None:
        """Listen on both ports, on the running loop.

        Raises:
            SettingsError: If a port is in use or the host is not an address of this machine.
        """
        tcp = await self._bind("tcp_port")
        try:
            http = await self._bind("http_port")
        except SettingsError:
            tcp.close()
            raise
        self.tcp_address, self.http_address = (
            address_text(tcp.getsockname()),
            address_text(http.getsockname()),
        )
        await self._tcp.listen(tcp)
        info = self._info(tcp, http)
        api = Api(self._tcp, self._wall_clock_ns, info, Config(self.ledger.limits, info))
        self._http = http_server(api.routes)
        self._http.add_socket(http)
        _log.info(
            "embedded broker listens on tcp %s and http %s: for development and tests only, "
            "messages are kept in memory and go with this process",
            self.tcp_address,
            self.http_address,
        )

    async def stop(self) -> None:
        """Close both ports and all connections; calling it again, or before ``start``, does nothing."""
        http, self._http = self._http, None
        if http is not None:
            http.stop()
            await http.close_all_connections()
        await self._tcp.stop()

    def wake(self) -> None:
        """Do what is due by the clock now; only needed with a clock that a test moves."""
        self._tcp.wake()

    async def _bind(self, name: str) -> socket.socket:
        port = self._ports[name]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
            family, _, _, _, address = found[0]
            bound = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except (OSError, UnicodeError) as error:
            problem = f"cannot listen on {self._host}: {getattr(error, 'strerror', None) or error}"
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                problem = f"the port is in use on {self._host}; choose another, or 0 for a free one"
            raise SettingsError(f"{name}={port}: {problem}") from error
        bound.settimeout(0)  # both servers accept from the loop
        return bound

    def _info(self, tcp: socket.socket, http: socket.socket) -> dict[str, str | int]:
        return {
            "version": VERSION,
            "broadcast_address": self._host,
            "hostname": socket.gethostname(),
            "http_port": http.getsockname()[1],
            "tcp_port": tcp.getsockname()[1],
            "start_time": self._wall_clock_ns() // 1_000_000_000,
            "max_heartbeat_interval": round(self.ledger.limits.max_heartbeat_s * 1_000_000_000),
            "max_output_buffer_size": 64 * 1024,
            "max_output_buffer_timeout": 30_000_000_000,
            "max_deflate_level": 6,
            "tcp_address": self.tcp_address,
            "http_address": self.http_address,
        }
