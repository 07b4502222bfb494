"""The connections to nsqlookupd: they register the broker's topics and channels, and look up channels.

This module makes no decision about messages.

Source:
    nsqd/lookup.go, nsqd/lookup_peer.go.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

import orjson
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest

from nsqkit.devbroker.ledger import Change
from nsqkit.devbroker.lookupd_session import MAGIC
from nsqkit.devbroker.wire import SIZE, sized
from nsqkit.policy.address import join_address, split_address
from nsqkit.policy.names import channel_problem, is_ephemeral

_PING_S = 15.0
_REPLY_S = 1.0
_HTTP_S = 5.0
_MAX_REPLY_BYTES = 5 * 1024 * 1024
_log = logging.getLogger("nsqkit.devbroker")

Registered = Callable[[], Iterable[Change]]


class LookupPeer:
    """The connection to one nsqlookupd; after a loss it is opened again for the next change or ping.

    Args:
        address: The TCP address of the nsqlookupd, ``host:port``.
        identity: The fields that IDENTIFY sends about this nsqd.
        registered: Returns all topics and channels that exist now.
    """

    def __init__(self, address: str, identity: Mapping[str, str | int], registered: Registered) -> None:
        self.http_address = ""
        self._address = address
        self._identity = identity
        self._registered = registered
        self._changes: asyncio.Queue[Change] = asyncio.Queue()
        self._failed = False
        self._task = asyncio.create_task(self._run(), name=f"nsqlookupd {address}")

    def notify(self, change: Change) -> None:
        """Report a topic or channel that was created or deleted."""
        self._changes.put_nowait(change)

    async def close(self) -> None:
        """Close the connection; nsqlookupd then forgets this nsqd."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._talk()
            except Exception as error:  # noqa: BLE001 - whatever it answers, it is tried again
                if not self._failed:
                    _log.warning(
                        "nsqlookupd %s: %s; retrying", self._address, str(error) or type(error).__name__
                    )
                self._failed = True
            with contextlib.suppress(TimeoutError):
                await self._next_change()

    async def _talk(self) -> None:
        """Register all topics and channels, then every change, with pings in between."""
        host, port = split_address(self._address)
        async with asyncio.timeout(_REPLY_S):
            reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(MAGIC)
            body = orjson.dumps(self._identity)
            info = orjson.loads(await _command(reader, writer, b"IDENTIFY\n" + sized(body)))
            while not self._changes.empty():
                self._changes.get_nowait()
            for change in tuple(self._registered()):
                await _command(reader, writer, _line(change))
            self.http_address = join_address(str(info["broadcast_address"]), int(info["http_port"]))
            self._failed = False
            while True:
                await _command(reader, writer, await self._next_line())
        except (KeyError, TypeError) as error:
            raise ValueError("its answer to IDENTIFY has no HTTP address") from error
        finally:
            writer.close()

    async def _next_line(self) -> bytes:
        try:
            return _line(await self._next_change())
        except TimeoutError:
            return b"PING\n"

    async def _next_change(self) -> Change:
        """Return the next change, or raise TimeoutError when a ping is due."""
        async with asyncio.timeout(_PING_S):  # wait_for may swallow a cancellation, before Python 3.12
            return await self._changes.get()


class LookupPeers:
    """The nsqlookupd that this nsqd registers with.

    Args:
        identity: The fields that IDENTIFY sends about this nsqd.
        registered: Returns all topics and channels that exist now.
    """

    def __init__(self, identity: Mapping[str, str | int], registered: Registered) -> None:
        self._identity = identity
        self._registered = registered
        self._peers: dict[str, LookupPeer] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def use(self, addresses: Iterable[str]) -> None:
        """Register with these addresses, and disconnect from all others."""
        wanted = dict.fromkeys(addresses)
        for address in wanted.keys() - self._peers.keys():
            self._peers[address] = LookupPeer(address, self._identity, self._registered)
        for address in self._peers.keys() - wanted.keys():
            closing = asyncio.create_task(self._peers.pop(address).close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    def notify(self, change: Change) -> None:
        """Report a topic or channel that was created or deleted to every nsqlookupd."""
        for peer in self._peers.values():
            peer.notify(change)

    @property
    def http_addresses(self) -> list[str]:
        """The HTTP addresses of the nsqlookupd that have been connected, as nsqd remembers them."""
        return [peer.http_address for peer in self._peers.values() if peer.http_address]

    async def channels(self, topic: str) -> set[str]:
        """Return the durable channels of a topic that any nsqlookupd knows."""
        answers = await asyncio.gather(*(_channels(address, topic) for address in self.http_addresses))
        return set().union(*answers)

    async def close(self) -> None:
        """Disconnect from every nsqlookupd."""
        self.use(())
        await asyncio.gather(*self._closing)


async def _command(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, command: bytes) -> bytes:
    """Return the reply to a command.

    Raises:
        TimeoutError: If it does not arrive in time.
        ValueError: If it is an error, or its size is impossible.
    """
    async with asyncio.timeout(_REPLY_S):
        writer.write(command)
        size = SIZE.unpack(await reader.readexactly(SIZE.size))[0]
        if not 0 <= size <= _MAX_REPLY_BYTES:
            raise ValueError(f"a reply of {size} bytes")
        reply = await reader.readexactly(size)
    if reply.startswith(b"E_"):
        raise ValueError(reply.decode("utf-8", "backslashreplace"))
    return reply


def _line(change: Change) -> bytes:
    verb = "REGISTER" if change.exists else "UNREGISTER"
    names = f"{change.topic} {change.channel}" if change.channel else change.topic
    return f"{verb} {names}\n".encode()


async def _channels(http_address: str, topic: str) -> set[str]:
    url = f"http://{http_address}/channels?topic={quote(topic, safe='')}"
    request = HTTPRequest(url, connect_timeout=_HTTP_S, request_timeout=_HTTP_S)
    try:
        response = await AsyncHTTPClient().fetch(request)
        names = orjson.loads(response.body)["channels"]
    except (HTTPClientError, OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("nsqlookupd %s: the channels of %s are unknown: %s", http_address, topic, error)
        return set()
    return {
        name
        for name in names
        if isinstance(name, str) and channel_problem(name) is None and not is_ephemeral(name)
    }
