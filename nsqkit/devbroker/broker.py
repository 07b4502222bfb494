"""The embedded broker as a whole: the one place where ledger, TCP and HTTP servers are wired.

For development and tests only: messages are kept in memory, and over a restart only if told so.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from nsqkit.devbroker.api import Api
from nsqkit.devbroker.config import Config
from nsqkit.devbroker.http import http_server
from nsqkit.devbroker.ledger import Change, Ledger
from nsqkit.devbroker.limits import VERSION, Limits
from nsqkit.devbroker.listen import address_text, bind, check_ports, reachable_host
from nsqkit.devbroker.lookupd_peers import LookupPeers
from nsqkit.devbroker.server import TcpServer
from nsqkit.devbroker.storage import Storage
from nsqkit.devbroker.topic import Topic
from nsqkit.errors import SettingsError

if TYPE_CHECKING:
    from tornado.httpserver import HTTPServer

_REGISTERED = ("version", "tcp_port", "http_port", "hostname", "broadcast_address")
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
        data_path: An existing folder that keeps the messages over a clean restart; None for none.
        lookupd_tcp_addresses: The nsqlookupd to register with, ``host:port`` each.
        broadcast_address: What they tell others to reach it by; empty for *host*.
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
        data_path: Path | None = None,
        lookupd_tcp_addresses: Sequence[str] = (),
        broadcast_address: str = "",
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
        check_ports(self._ports)
        self._lookupd = tuple(lookupd_tcp_addresses)
        self._broadcast_address = broadcast_address or reachable_host(host)
        self._data_path = data_path
        self._storage = Storage(data_path) if data_path is not None else None
        self._peers: LookupPeers | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self._wall_clock_ns = wall_clock_ns
        self._tcp = TcpServer(self.ledger, clock, wall_clock_ns)
        self._http: HTTPServer | None = None

    async def start(self) -> None:
        """Load what is kept, listen on both ports on the running loop, and register.

        Raises:
            SettingsError: If a port is in use, the host is not an address of this machine, or
                *data_path* cannot be used.
        """
        tcp, http = await bind(self._host, self._ports)
        if self._storage is not None:
            try:
                self._storage.load(self.ledger, now_s=self._tcp.clock())
            except SettingsError:
                tcp.close()
                http.close()
                raise
        self.tcp_address, self.http_address = (
            address_text(tcp.getsockname()),
            address_text(http.getsockname()),
        )
        info = self._info(tcp, http)
        self._peers = LookupPeers(
            {name: info[name] for name in _REGISTERED}, lambda: tuple(self.ledger.registered())
        )
        self.ledger.on_change = self._on_change
        self._peers.use(self._lookupd)
        await self._tcp.listen(tcp)
        config = Config(self.ledger.limits, info, self._lookupd, str(self._data_path or ""))
        config.on_lookupd = self._peers.use
        self._http = http_server(Api(self._tcp, self._wall_clock_ns, info, config).routes)
        self._http.add_socket(http)
        _log.info(
            "embedded broker listens on tcp %s and http %s: for development and tests only, %s",
            self.tcp_address,
            self.http_address,
            f"messages are kept in {self._data_path} when it stops"
            if self._data_path
            else "messages are kept in memory and go with this process",
        )

    async def stop(self) -> None:
        """Close all, and keep what is to be kept; calling it again, or before ``start``, does nothing.

        Raises:
            OSError: If the messages cannot be written.
        """
        http, self._http = self._http, None
        if http is None:
            return
        http.stop()
        await http.close_all_connections()
        for starting in self._starting:
            starting.cancel()
        self.ledger.on_change = lambda _change: None
        await self._tcp.stop()
        if self._peers is not None:
            await self._peers.close()
        if self._storage is not None:
            try:
                self._storage.save(self.ledger)
            finally:
                self._storage.release()

    def wake(self) -> None:
        """Do what is due by the clock now; only needed with a clock that a test moves."""
        self._tcp.wake()

    def _on_change(self, change: Change) -> None:
        """Tell every nsqlookupd; a new topic first gets the channels that they know."""
        if self._peers is None:
            return
        self._peers.notify(change)
        if change.exists and not change.channel and self._peers.http_addresses:
            topic = self.ledger.topics[change.topic]
            topic.started = False
            starting = asyncio.create_task(self._start_topic(self._peers, topic))
            self._starting.add(starting)
            starting.add_done_callback(self._starting.discard)

    async def _start_topic(self, peers: LookupPeers, topic: Topic) -> None:
        self.ledger.start_topic(topic, await peers.channels(topic.name), now_s=self._tcp.clock())
        self._tcp.settle()

    def _info(self, tcp: socket.socket, http: socket.socket) -> dict[str, str | int]:
        return {
            "version": VERSION,
            "broadcast_address": self._broadcast_address,
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
