"""One nsqd's connection to the embedded nsqlookupd: executes its commands and queues the replies.

Pure: the time is passed in, and the server writes the replies in ``out``.

Source:
    nsqlookupd/lookup_protocol_v1.go, nsqlookupd/tcp.go.
"""

from collections.abc import Callable
from typing import ClassVar

import orjson

from nsqkit.devbroker.identify import read_fields
from nsqkit.devbroker.lookupd_registry import ANY, CLIENT, Node, Peer, Registration, Registry
from nsqkit.devbroker.wire import MAX_LINE_BYTES, SIZE, ProtocolError, error_text, sized
from nsqkit.policy.names import channel_problem, is_ephemeral, topic_problem

MAGIC = b"  V1"
_BLANKS = " \t\n\v\f\r\x85\xa0"
_MAX_BODY_BYTES = 5 * 1024 * 1024
_NODE_FIELDS = {
    "hostname": str,
    "broadcast_address": str,
    "tcp_port": int,
    "http_port": int,
    "version": str,
}
_MIN_PORT, _MAX_PORT = -(2**63), 2**63 - 1


class LookupSession:
    """The protocol state of one connection from an nsqd.

    ``open`` turns False when the connection must close; ``out`` is still to be written then. A
    line over 16 KiB ends the session, and an IDENTIFY body with a negative size or over 5 MiB is
    refused; the real nsqlookupd would buffer the first without limit and fail on the second.

    Args:
        registry: The topics, channels and nsqd that nsqlookupd knows.
        remote_address: The other end of the connection, ``host:port``.
        info: The answer to IDENTIFY.
    """

    def __init__(self, registry: Registry, remote_address: str, info: dict[str, str | int]) -> None:
        self.out: list[bytes] = []
        self.open = True
        self._registry = registry
        self._remote_address = remote_address
        self._info = info
        self._peer: Peer | None = None
        self._waiting = bytearray()
        self._magic_seen = False
        self._body_wanted = False
        self._now_s = 0.0

    def receive(self, chunk: bytes, *, now_s: float) -> None:
        """Execute the commands that a chunk completes; none once the session is over."""
        self._waiting += chunk
        self._now_s = now_s
        try:
            while self.open and (reply := self._next()) is not None:
                self.out.append(sized(reply))
        except ProtocolError as error:
            self._refuse(error)

    def input_ended(self) -> None:
        """Answer with an error if the nsqd hung up in the middle of a body."""
        if self.open and self._body_wanted:
            size = " size" * (len(self._waiting) < SIZE.size)
            self._refuse(ProtocolError("E_BAD_BODY", f"IDENTIFY failed to read body{size}"))

    def end(self) -> None:
        """Forget the nsqd, because the connection is gone, and free an unfinished body."""
        self._waiting.clear()
        if self._peer is not None:
            self._registry.forget(self._peer)

    def _refuse(self, error: ProtocolError) -> None:
        self.out.append(sized(error_text(error.code, error.description)))
        self.open = False

    def _next(self) -> bytes | None:
        """Execute the next command and return its reply, or None until all of it has arrived."""
        if not self._magic_seen and not self._magic():
            return None
        if self._body_wanted:
            return self._identify_body()
        line = self._line()
        if line is None:
            return None
        name, *params = line.strip(_BLANKS).split(" ")
        handle = self._COMMANDS.get(name)
        if handle is None:
            raise ProtocolError("E_INVALID", f"invalid command {name}")
        return handle(self, params)

    def _magic(self) -> bool:
        if len(self._waiting) < len(MAGIC):
            return False
        if self._take(len(MAGIC)) != MAGIC:
            raise ProtocolError("E_BAD_PROTOCOL")
        self._magic_seen = True
        return True

    def _line(self) -> str | None:
        end = self._waiting.find(b"\n", 0, MAX_LINE_BYTES)
        if end >= 0:
            return self._take(end + 1).decode("utf-8", "surrogateescape")
        if len(self._waiting) >= MAX_LINE_BYTES:
            self.open = False
        return None

    def _take(self, size: int) -> bytes:
        data = bytes(self._waiting[:size])
        del self._waiting[:size]
        return data

    def _ping(self, _params: list[str]) -> bytes:
        if self._peer is not None:
            self._peer.heard_s = self._now_s
        return b"OK"

    def _identify(self, _params: list[str]) -> bytes | None:
        if self._peer is not None:
            raise ProtocolError("E_INVALID", "cannot IDENTIFY again")
        self._body_wanted = True
        return self._identify_body()

    def _identify_body(self) -> bytes | None:
        if len(self._waiting) < SIZE.size:
            return None
        size = SIZE.unpack_from(self._waiting)[0]
        if not 0 <= size <= _MAX_BODY_BYTES:
            raise ProtocolError("E_BAD_BODY", "IDENTIFY failed to read body")
        if len(self._waiting) < SIZE.size + size:
            return None
        node = _node(self._take(SIZE.size + size)[SIZE.size :], self._remote_address)
        self._body_wanted = False
        self._peer = Peer(node, self._now_s)
        self._registry.add(CLIENT, self._peer)
        return orjson.dumps(self._info)

    def _register(self, params: list[str]) -> bytes:
        peer, topic, channel = self._names("REGISTER", params)
        if channel:
            self._registry.add(Registration("channel", topic, channel), peer)
        self._registry.add(Registration("topic", topic), peer)
        return b"OK"

    def _unregister(self, params: list[str]) -> bytes:
        peer, topic, channel = self._names("UNREGISTER", params)
        registration = Registration("channel" if channel else "topic", topic, channel)
        if not channel:
            for each in self._registry.find("channel", topic, ANY):
                self._registry.remove(each, peer)
        left = self._registry.remove(registration, peer)
        if not left and is_ephemeral(channel or topic):
            self._registry.drop(registration)
        return b"OK"

    def _names(self, verb: str, params: list[str]) -> tuple[Peer, str, str]:
        if self._peer is None:
            raise ProtocolError("E_INVALID", "client must IDENTIFY")
        if not params:
            raise ProtocolError("E_INVALID", f"{verb} insufficient number of params")
        topic, channel = (*params, "")[:2]
        if topic_problem(topic) is not None:
            raise ProtocolError("E_BAD_TOPIC", f"{verb} topic name '{topic}' is not valid")
        if channel and channel_problem(channel) is not None:
            raise ProtocolError("E_BAD_CHANNEL", f"{verb} channel name '{channel}' is not valid")
        return self._peer, topic, channel

    _COMMANDS: ClassVar[dict[str, Callable[["LookupSession", list[str]], bytes | None]]] = {
        "PING": _ping,
        "IDENTIFY": _identify,
        "REGISTER": _register,
        "UNREGISTER": _unregister,
    }


def _node(body: bytes, remote_address: str) -> Node:
    values = read_fields(body, _NODE_FIELDS)
    if not all(values[name] for name in ("broadcast_address", "tcp_port", "http_port", "version")):
        raise ProtocolError("E_BAD_BODY", "IDENTIFY missing fields")
    if not all(_MIN_PORT <= values[name] <= _MAX_PORT for name in ("tcp_port", "http_port")):
        raise ProtocolError("E_BAD_BODY", "IDENTIFY failed to decode JSON body")
    return Node(remote_address, **values)
