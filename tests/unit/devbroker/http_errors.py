"""Requests that are wrong, and nsqd's status and code; the same table is tried on a real nsqd.

Topic t with channel c exists, q does not.
"""

import struct
from typing import NamedTuple

from nsqkit.devbroker.limits import Limits
from tests.unit.devbroker.raw_client import sized

LIMITS = Limits(max_msg_bytes=10, max_body_bytes=100)


def binary(*bodies: bytes) -> bytes:
    """Return the body of a binary mpub."""
    return struct.pack(">i", len(bodies)) + sized(*bodies)


CHANNEL_ROUTES = [f"/channel/{verb}" for verb in ("create", "delete", "empty", "pause", "unpause")]


class WrongRequest(NamedTuple):
    """A POST, the status and code that it gets, and why."""

    path: str
    body: bytes
    arguments: dict[str, str]
    status: int
    code: str
    id: str


REFUSED = [
    WrongRequest("/pub", b"x", {}, 400, "MISSING_ARG_TOPIC", id="no topic"),
    WrongRequest("/pub", b"x", {"topic": ""}, 400, "INVALID_TOPIC", id="empty topic"),
    WrongRequest("/pub", b"x", {"topic": "t!"}, 400, "INVALID_TOPIC", id="bad topic"),
    WrongRequest("/pub", b"", {"topic": "t!"}, 400, "MSG_EMPTY", id="an empty message comes first"),
    *(
        WrongRequest(
            "/pub", b"x", {"topic": "t", "defer": defer}, 400, "INVALID_DEFER", id=f"defer {defer!r}"
        )
        for defer in ("", "x", "-1", "1.5", "3600001", "9" * 30, "\u0661")
    ),
    WrongRequest("/mpub", b"x", {}, 400, "MISSING_ARG_TOPIC", id="mpub without topic"),
    WrongRequest("/mpub", b"x" * 11, {"topic": "t"}, 413, "MSG_TOO_BIG", id="a line too long"),
    *(
        WrongRequest("/mpub", body, {"topic": "t", "binary": "true"}, 413, code, id=name)
        for name, body, code in (
            ("no count", b"", "BAD_BODY"),
            ("a count of none", binary(), "BAD_BODY"),
            ("a negative count", struct.pack(">i", -1), "BAD_BODY"),
            ("a count beyond any body", struct.pack(">i", 20), "BAD_BODY"),
            ("an empty message", binary(b"x", b""), "BAD_MESSAGE"),
            ("a message too long", binary(b"x" * 11), "BAD_MESSAGE"),
            ("a message cut short", binary(b"xyz")[:-1], "BAD_MESSAGE"),
            ("a size cut short", binary(b"xyz")[:6], "BAD_MESSAGE"),
            ("a message missing", struct.pack(">i", 2) + sized(b"x"), "BAD_MESSAGE"),
        )
    ),
    WrongRequest("/topic/create", b"", {}, 400, "MISSING_ARG_TOPIC", id="create nothing"),
    WrongRequest("/topic/create", b"", {"topic": "q!"}, 400, "INVALID_TOPIC", id="create a bad name"),
    WrongRequest("/topic/empty", b"", {"topic": "q!"}, 400, "INVALID_TOPIC", id="empty looks at the name"),
    WrongRequest("/topic/empty", b"", {"topic": "q"}, 404, "TOPIC_NOT_FOUND", id="empty an unknown topic"),
    *(
        WrongRequest(f"/topic/{verb}", b"", {"topic": "q!"}, 404, "TOPIC_NOT_FOUND", id=f"{verb} does not")
        for verb in ("delete", "pause", "unpause")
    ),
    *(
        WrongRequest(f"/topic/{verb}", b"", {}, 400, "MISSING_ARG_TOPIC", id=f"{verb} nothing")
        for verb in ("delete", "empty", "pause", "unpause")
    ),
    *(
        WrongRequest(path, b"", arguments, status, code, id=f"{path} {arguments}")
        for path in CHANNEL_ROUTES
        for arguments, status, code in (
            ({}, 400, "MISSING_ARG_TOPIC"),
            ({"channel": "c"}, 400, "MISSING_ARG_TOPIC"),
            ({"topic": "q!", "channel": "c"}, 400, "INVALID_ARG_TOPIC"),
            ({"topic": "t"}, 400, "MISSING_ARG_CHANNEL"),
            ({"topic": "t", "channel": "c!"}, 400, "INVALID_ARG_CHANNEL"),
            ({"topic": "q", "channel": "c"}, 404, "TOPIC_NOT_FOUND"),
        )
    ),
    *(
        WrongRequest(
            path, b"", {"topic": "t", "channel": "q"}, 404, "CHANNEL_NOT_FOUND", id=f"{path} unknown"
        )
        for path in CHANNEL_ROUTES[1:]
    ),
]
