"""The frames that nsqd's V2 protocol sends to a client, and its errors. No state of topics, no sockets.

Source:
    nsqd/protocol_v2.go, internal/protocol; see NSQ's TCP protocol specification.
"""

import struct

from nsqkit.devbroker.message import Copy

SIZE = struct.Struct(">i")
"""The four bytes before a body that give its size."""
MAX_LINE_BYTES = 16 * 1024
"""The longest command line, its newline included: nsqd's read buffer."""
_RESPONSE = 0
_ERROR = 1
_MESSAGE = 2
_FRAME = struct.Struct(">ii")
_MESSAGE_FRAME = struct.Struct(">iiqH16s")
_MESSAGE_OVERHEAD = _MESSAGE_FRAME.size - 4
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


class ProtocolError(Exception):
    """A client broke the protocol: it gets this error, and its connection closes.

    Args:
        code: nsqd's code, such as ``E_INVALID``.
        description: The problem; may be empty. Bytes that are not UTF-8 are escaped as by ``text``.
    """

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(code, description)
        self.code = code
        self.description = description


def text(data: bytes) -> str:
    """Return a client's bytes as text; those that are not UTF-8 become lone surrogates, so none is lost."""
    return data.decode("utf-8", "surrogateescape")


def quoted(data: bytes) -> str:
    """Return a client's bytes in quotes, with unprintable characters escaped as Go does."""
    return f'"{"".join(map(_escaped, text(data)))}"'


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # noqa: PLR2004  a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < ord(" ") or code == 0x7F:  # noqa: PLR2004  delete
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004  as many as fit


def sized(data: bytes) -> bytes:
    """Return data with its size before it."""
    return SIZE.pack(len(data)) + data


def response_frame(data: bytes) -> bytes:
    """Return a response, such as OK, as a frame."""
    return _FRAME.pack(len(data) + 4, _RESPONSE) + data


def error_text(code: str, description: str = "") -> bytes:
    """Return an error as it is sent: the code, then the description if there is one."""
    return " ".join(filter(None, (code, description))).encode("utf-8", "surrogateescape")


def error_frame(code: str, description: str = "") -> bytes:
    """Return an error as a frame."""
    data = error_text(code, description)
    return _FRAME.pack(len(data) + 4, _ERROR) + data


def message_frame(copy: Copy) -> bytes:
    """Return a delivery as a frame: timestamp (ns), attempts, id (16 bytes), body."""
    message = copy.message
    size = len(message.body) + _MESSAGE_OVERHEAD
    return _MESSAGE_FRAME.pack(size, _MESSAGE, message.timestamp_ns, copy.attempts, message.id) + message.body
