"""The commands that a client sends, cut out of a stream of bytes. No state of topics, no sockets.

Source:
    nsqd/protocol_v2.go, internal/protocol; see NSQ's TCP protocol specification.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from nsqkit.devbroker.limits import Limits
from nsqkit.devbroker.wire import MAX_LINE_BYTES, SIZE, ProtocolError

MAGIC = b"  V2"
_WITH_BODY = frozenset({b"IDENTIFY", b"AUTH", b"PUB", b"MPUB", b"DPUB"})


class OverlongLineError(Exception):
    """A command line is too long; nsqd closes such a connection without an answer."""


class Command(NamedTuple):
    """One command: its name, its parameters, and its bodies (none, one, or MPUB's many)."""

    name: bytes
    params: list[bytes]
    bodies: tuple[bytes, ...] = ()


class CommandParser:
    """Cuts the bytes of one connection into commands; a chunk may end anywhere.

    Args:
        limits: The largest bodies.
        admit: Called with the name and the parameters of a command, before its body has arrived;
            raises ProtocolError to refuse the command, as nsqd does.
    """

    def __init__(self, limits: Limits, admit: Callable[[bytes, list[bytes]], None]) -> None:
        self._limits = limits
        self._admit = admit
        self._waiting = bytearray()
        self._wanted = len(MAGIC)
        self._data = b""
        self._at = 0
        self._magic_seen = False
        self._header: tuple[bytes, list[bytes]] | None = None
        self._bodies: list[bytes] = []
        self._bodies_left = 0

    def feed(self, chunk: bytes) -> Iterator[Command]:
        """Yield the commands that *chunk* completes, and keep the rest for the next chunk.

        Raises:
            ProtocolError: If a command cannot be read; the parser is then of no further use.
            OverlongLineError: If a line is too long; the parser is then of no further use.
        """
        if self._waiting:
            self._waiting += chunk
            if len(self._waiting) < self._wanted:
                return
            chunk = bytes(self._waiting)
            self._waiting.clear()
        self._data, self._at = chunk, 0
        while (command := self._next()) is not None:
            yield command
        self._waiting += memoryview(self._data)[self._at :]
        self._data = b""

    def discard(self) -> None:
        """Free the bytes of an unfinished command; the parser is then of no further use."""
        self._waiting.clear()
        self._bodies.clear()
        self._data = b""

    def unfinished(self) -> ProtocolError | None:
        """Return the error for a client that hangs up in the middle of a body; None if no body is missing."""
        if self._header is None:
            return None
        name = self._header[0].decode()
        is_size = len(self._waiting) < SIZE.size
        if name == "MPUB" and not self._bodies_left:
            return ProtocolError(
                "E_BAD_BODY", f"MPUB failed to read {'body size' if is_size else 'message count'}"
            )
        what = "body" if name in {"IDENTIFY", "AUTH"} else "message body"
        if name == "MPUB" and is_size:
            what = f"message({len(self._bodies)}) body"
        code = "E_BAD_BODY" if what == "body" else "E_BAD_MESSAGE"
        return ProtocolError(code, f"{name} failed to read {what}{' size' * is_size}")

    def _next(self) -> Command | None:
        if not self._magic_seen and not self._magic():
            return None
        if self._header is None:
            line = self._line()
            if line is None:
                return None
            name, *params = line.split(b" ")
            if name not in _WITH_BODY:
                return Command(name, params)
            self._admit(name, params)
            self._header = name, params
        name, params = self._header
        bodies = self._many(name) if name == b"MPUB" else self._one(name)
        if bodies is None:
            return None
        self._header = None
        return Command(name, params, bodies)

    def _magic(self) -> bool:
        magic = self._take(len(MAGIC))
        if magic is not None and magic != MAGIC:
            raise ProtocolError("E_BAD_PROTOCOL")
        self._magic_seen = magic is not None
        return self._magic_seen

    def _line(self) -> bytes | None:
        end = self._data.find(b"\n", self._at, self._at + MAX_LINE_BYTES)
        if end < 0:
            have = len(self._data) - self._at
            if have >= MAX_LINE_BYTES:
                raise OverlongLineError
            self._wanted = have + 1
            return None
        line = self._data[self._at : end]
        self._at = end + 1
        return line.removesuffix(b"\r")

    def _one(self, name: bytes) -> tuple[bytes] | None:
        size = self._peek_size(0)
        if size is None:
            return None
        self._check_one(name.decode(), size)
        body = self._body(size)
        return None if body is None else (body,)

    def _check_one(self, name: str, size: int) -> None:
        is_message = name in {"PUB", "DPUB"}
        code = "E_BAD_MESSAGE" if is_message else "E_BAD_BODY"
        limit = self._limits.max_msg_bytes if is_message else self._limits.max_body_bytes
        if size <= 0:
            raise ProtocolError(code, f"{name} invalid {'message ' * is_message}body size {size}")
        if size > limit:
            what = "message" if is_message else "body"
            raise ProtocolError(code, f"{name} {what} too big {size} > {limit}")

    def _many(self, name: bytes) -> tuple[bytes, ...] | None:
        """Read MPUB's bodies; as in nsqd, the count decides where they end, not the outer size."""
        if not self._bodies_left and not self._many_starts(name):
            return None
        while self._bodies_left:
            size = self._peek_size(0)
            if size is None:
                return None
            self._check_member(size)
            body = self._body(size)
            if body is None:
                return None
            self._bodies.append(body)
            self._bodies_left -= 1
        bodies, self._bodies = tuple(self._bodies), []
        return bodies

    def _many_starts(self, name: bytes) -> bool:
        size = self._peek_size(0)
        if size is None:
            return False
        self._check_one(name.decode(), size)
        count = self._peek_size(SIZE.size)
        if count is None:
            return False
        if not 0 < count <= self._limits.max_mpub_count:
            raise ProtocolError("E_BAD_BODY", f"MPUB invalid message count {count}")
        self._at += 2 * SIZE.size
        self._bodies_left = count
        return True

    def _check_member(self, size: int) -> None:
        limit = self._limits.max_msg_bytes
        if size <= 0:
            detail = f"MPUB invalid message({len(self._bodies)}) body size {size}"
            raise ProtocolError("E_BAD_MESSAGE", detail)
        if size > limit:
            raise ProtocolError("E_BAD_MESSAGE", f"MPUB message too big {size} > {limit}")

    def _peek_size(self, offset: int) -> int | None:
        start = self._at + offset
        if len(self._data) < start + SIZE.size:
            self._wanted = start + SIZE.size - self._at
            return None
        size: int = SIZE.unpack_from(self._data, start)[0]
        return size

    def _body(self, size: int) -> bytes | None:
        """Take a size and a body of that size; None until both have arrived."""
        data = self._take(SIZE.size + size)
        return None if data is None else data[SIZE.size :]

    def _take(self, size: int) -> bytes | None:
        end = self._at + size
        if len(self._data) < end:
            self._wanted = size
            return None
        data = self._data[self._at : end]
        self._at = end
        return data
