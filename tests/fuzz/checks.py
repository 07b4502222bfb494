"""What the embedded broker may answer, whatever it is sent."""

import json
import re
import struct

RESPONSE, ERROR, MESSAGE = 0, 1, 2
HARMLESS = frozenset({"E_FIN_FAILED", "E_REQ_FAILED", "E_TOUCH_FAILED"})
FATAL = frozenset(
    {
        "E_AUTH_DISABLED",
        "E_BAD_BODY",
        "E_BAD_CHANNEL",
        "E_BAD_MESSAGE",
        "E_BAD_PROTOCOL",
        "E_BAD_TOPIC",
        "E_IDENTIFY_FAILED",
        "E_INVALID",
    }
)
_RESPONSES = frozenset({b"OK", b"CLOSE_WAIT", b"_heartbeat_"})
_STATUSES = frozenset({100, 200, 301, 307, 400, 404, 405, 413})
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_CODE = re.compile(rb'\{"message":"([^"]*)"\}')
_CODES = frozenset(
    {
        "BAD_BODY",
        "BAD_MESSAGE",
        "BODY_TOO_BIG",
        "CHANNEL_NOT_FOUND",
        "INVALID_ARG_CHANNEL",
        "INVALID_ARG_TOPIC",
        "INVALID_DEFER",
        "INVALID_OPTION",
        "INVALID_REQUEST",
        "INVALID_TOPIC",
        "INVALID_VALUE",
        "METHOD_NOT_ALLOWED",
        "MISSING_ARG_CHANNEL",
        "MISSING_ARG_NODE",
        "MISSING_ARG_TOPIC",
        "MSG_EMPTY",
        "MSG_TOO_BIG",
        "NOT_FOUND",
        "TOPIC_NOT_FOUND",
    }
)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return whole frames; what a closed connection cut off is left out."""
    found = []
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">ii", data, at)
        assert size >= 4, data[at : at + 50]
        if at + 4 + size <= len(data):
            found.append((kind, data[at + 8 : at + 4 + size]))
        at += 4 + size
    return found


def check_frames(data: bytes) -> str:
    """Refuse a stream that nsqd could not have sent; return the last fatal error's code, or none."""
    fatal = ""
    for kind, content in frames(data):
        assert not fatal, f"{content[:50]!r} after {fatal}"
        if kind == ERROR:
            code = content.partition(b" ")[0].decode("ascii")
            assert code in HARMLESS | FATAL, content
            fatal = code if code in FATAL else ""
        elif kind == MESSAGE:
            assert len(content) > 26, content
        else:
            assert kind == RESPONSE, (kind, content)
            assert content in _RESPONSES or isinstance(json.loads(content), dict), content
    return fatal


def check_lookup_replies(data: bytes) -> str:
    """Refuse a stream that nsqlookupd could not have sent; return the last reply's error code, or none."""
    at, code = 0, ""
    while at + 4 <= len(data):
        (size,) = struct.unpack_from(">i", data, at)
        reply = data[at + 4 : at + 4 + size]
        assert not code, f"{reply[:50]!r} after {code}"
        if reply.startswith(b"E_"):
            code = reply.partition(b" ")[0].decode("ascii")
            assert code in FATAL, reply
        else:
            assert reply == b"OK" or len(reply) < size or isinstance(json.loads(reply), dict), reply
        at += 4 + size
    return code


def check_http(data: bytes) -> str:
    """Refuse answers that are not documented; return the first status, or none."""
    statuses = [int(found) for found in _STATUS.findall(data)]
    assert _STATUSES.issuperset(statuses), data[:300]
    codes = {found.decode() for found in _CODE.findall(data)}
    assert codes <= _CODES, codes
    return str(statuses[0]) if statuses else ""
