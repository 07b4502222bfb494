"""The embedded broker as a whole: connects the ledger, the TCP server and the HTTP server.

For development and tests only: messages are kept in memory, and survive a restart only with a data path.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from nsqkit.devbroker.api import Api
from nsqkit.devbroker.clocks import Clocks
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
    compression. Its replies and their timing follow nsqd 1.3.0.

    Args:
        tcp_port: Port for clients, 0 for a free one; nsqd's default is 4150.
        http_port: Port for HTTP, 0 for a free one; nsqd's default is 4151.
        host: Address to listen on; by default loopback.
        limits: Sizes and timeouts; None for nsqd's defaults.
        data_path: An existing folder that keeps the messages over a clean restart; None for none.
        lookupd_tcp_addresses: The nsqlookupd to register with, ``host:port`` each.
        broadcast_address: The address that nsqlookupd gives to consumers; empty for *host*.
        clocks: The clocks to read. A test with its own clock calls ``wake()`` after moving it.

    Raises:
        SettingsError: If a port is not in 0..65535.
    """

    def __init__(
        self,
        tcp_port: int = 4150,
        http_port: int = 4151,
        host: str = "127.0.0.1",
        *,
        limits: Limits | None = None,
        data_path: Path | None = None,
        lookupd_tcp_addresses: Sequence[str] = (),
        broadcast_address: str = "",
        clocks: Clocks | None = None,
    ) -> None:
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
        self._tcp = TcpServer(self.ledger, clocks or Clocks())
        self._http: HTTPServer | None = None

    async def start(self) -> None:
        """Load the stored messages, listen on both ports of the running loop, and register.

        Raises:
            SettingsError: If a port is in use, the host is not an address of this machine, or
                *data_path* cannot be used.
        """
        tcp, http = await bind(self._host, self._ports)
        if self._storage is not None:
            try:
                self._storage.load(self.ledger, now_s=self._tcp.now_s())
            except SettingsError:
                tcp.close()
                http.close()
                raise
        self.tcp_address, self.http_address = map(address_text, (tcp.getsockname(), http.getsockname()))
        info = self._info(tcp, http)
        self._peers = LookupPeers(
            {name: info[name] for name in _REGISTERED}, lambda: tuple(self.ledger.registered())
        )
        self.ledger.on_change = self._on_change
        self._peers.use(self._lookupd)
        await self._tcp.listen(tcp)
        config = Config(self.ledger.limits, info, self._lookupd, str(self._data_path or ""))
        config.on_lookupd = self._peers.use
        self._http = http_server(Api(self._tcp, info, config).routes)
        self._http.add_socket(http)
        _log.info(
            "embedded broker listens on tcp %s and http %s: for development and tests only, %s",
            self.tcp_address,
            self.http_address,
            f"messages are saved to {self._data_path} when it stops"
            if self._data_path
            else "messages are kept in memory and lost when it stops",
        )

    async def stop(self) -> None:
        """Close everything and save the messages; does nothing if it is not running.

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
        else:
            self._log_lost()

    def wake(self) -> None:
        """Act on everything that is due by now; needed only with a clock that a test moves."""
        self._tcp.wake()

    def _log_lost(self) -> None:
        """Log how many messages are lost because they are only in memory."""
        topics = self.ledger.topics.values()
        channels = [channel for topic in topics for channel in topic.channels.values()]
        queued = sum(len(topic.backlog) for topic in topics) + sum(len(each.queued) for each in channels)
        in_flight = sum(len(each.in_flight) for each in channels)
        deferred = sum(len(each.deferred) for each in channels)
        if queued or in_flight or deferred:
            _log.warning(
                "embedded broker stops and loses its messages: %d queued, %d in flight, %d deferred",
                *(queued, in_flight, deferred),
            )

    def _on_change(self, change: Change) -> None:
        """Report a change to every nsqlookupd; give a new topic the channels that they know first."""
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
        self.ledger.start_topic(topic, await peers.channels(topic.name), now_s=self._tcp.now_s())
        self._tcp.send_pending()

    def _info(self, tcp: socket.socket, http: socket.socket) -> dict[str, str | int]:
        return {
            "version": VERSION,
            "broadcast_address": self._broadcast_address,
            "hostname": socket.gethostname(),
            "http_port": http.getsockname()[1],
            "tcp_port": tcp.getsockname()[1],
            "start_time": self._tcp.now_ns() // 1_000_000_000,
            "max_heartbeat_interval": round(self.ledger.limits.max_heartbeat_s * 1_000_000_000),
            "max_output_buffer_size": 64 * 1024,
            "max_output_buffer_timeout": 30_000_000_000,
            "max_deflate_level": 6,
            "tcp_address": self.tcp_address,
            "http_address": self.http_address,
        }
