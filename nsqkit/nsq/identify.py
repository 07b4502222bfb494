"""IDENTIFY: the options of a connection, and the limits that nsqd grants. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

from nsqkit.nsq.frames import LONGEST_FRAME_BYTES
from nsqkit.nsq.tls import Tls
from nsqkit.policy.peer_text import peer_text

_LEAST_LEASE_S = 1.0
"""nsqd grants at least this to a client that asks. TOUCH comes twice in a lease, for each message."""
_AUTH_SERVER = "the auth server (nsqd's --auth-http-address)"
_HINTS = {
    b"IDENTIFY msg timeout": "; lower msg_timeout_s, or raise nsqd's --max-msg-timeout",
    b"IDENTIFY heartbeat interval": "; lower heartbeat_s, or raise nsqd's --max-heartbeat-interval",
    b"IDENTIFY output buffer size": "; lower output_buffer_bytes, or raise nsqd's --max-output-buffer-size",
    b"IDENTIFY output buffer timeout": (
        "; set output_buffer_ms between nsqd's --min-output-buffer-timeout and --max-output-buffer-timeout"
    ),
    b"IDENTIFY body too big": "; raise nsqd's --max-body-size",
    b"AUTH body too big": "; raise nsqd's --max-body-size",
    b"TLS required": "; set tls=true",
    b"AUTH required before": "; set auth_secret",
    b"AUTH failed for": f"; {_AUTH_SERVER} must allow it for this auth_secret",
    b"AUTH failed": f"; {_AUTH_SERVER} does not answer, or does not accept this auth_secret",
}  # of several that match, the first counts


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Options of a connection to nsqd: for IDENTIFY, TLS, compression and AUTH.

    Args:
        client_id: Client id in nsqd's statistics; None for the short host name.
        hostname: Host name in nsqd's statistics; None for this machine's name.
        user_agent: User agent in nsqd's statistics.
        heartbeat_s: Seconds between two heartbeats of nsqd; 1 to 60.
        msg_timeout_s: Seconds after which nsqd delivers an unanswered message again; 1 to 900. nsqd refuses a
            value above its limit. None for nsqd's default, as publishers use it.
        holds_s: Longest time in seconds to keep a message with TOUCH, that is the handler's timeout_s; 0 or
            more. An nsqd with a shorter max-msg-timeout is refused.
        output_buffer_bytes: Size of nsqd's output buffer, in bytes; 64 to 65536.
        output_buffer_ms: Longest time that nsqd buffers messages, in milliseconds; 25 to 30000.
        connect_timeout_s: Time limit in seconds, for each of name lookup, TCP connect and handshake; above 0.
        auth_secret: Secret for AUTH, sent only to an nsqd that requires it, and with *tls* only encrypted.
        tls: TLS options; then only IDENTIFY is sent before TLS. None for plain text.
        compression: ``deflate`` or ``snappy``, used if nsqd grants it; or ``none``.
        deflate_level: Deflate level, 1 to 9; --max-deflate-level limits nsqd's side.
        refresh: Called for each connection with the options; returns them with what its files contain now.
        max_frame_bytes: Longest frame to accept; an nsqd that sends a longer one is disconnected.

    Source:
        The ranges are nsqd's (nsqd/client_v2.go, nsqd/options.go).
    """

    client_id: str | None = None
    hostname: str | None = None
    user_agent: str = "nsqkit"
    heartbeat_s: int = 30
    msg_timeout_s: float | None = 60.0
    holds_s: float = 0.0
    output_buffer_bytes: int = 65536
    output_buffer_ms: int = 25
    connect_timeout_s: float = 2.0
    auth_secret: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    compression: str = "none"
    deflate_level: int = 6
    refresh: Callable[["ConnectionOptions"], "ConnectionOptions"] = field(
        default=lambda options: options, repr=False, compare=False
    )
    max_frame_bytes: int = LONGEST_FRAME_BYTES


@dataclass(frozen=True, slots=True)
class IdentifyReply:
    """Limits that nsqd granted; the defaults are nsqd's.

    Args:
        version: Version of nsqd; empty if it sent none.
        max_rdy_count: Highest RDY of one connection.
        msg_timeout_s: Lease of a message on this connection, in seconds.
        max_msg_timeout_s: Longest time for which TOUCH keeps a message, in seconds.
    """

    version: str = ""
    max_rdy_count: int = 2500
    msg_timeout_s: float = 60.0
    max_msg_timeout_s: float = 900.0

    @classmethod
    def parse(cls, reply: Mapping[str, object]) -> Self:
        """Read nsqd's JSON answer; missing limits get their defaults.

        Raises:
            ValueError: If a limit is not a positive whole number.
        """
        return cls(
            version=peer_text(str(reply.get("version", ""))),
            max_rdy_count=_count(reply, "max_rdy_count", 2500),
            msg_timeout_s=_count(reply, "msg_timeout", 60_000) / 1000,
            max_msg_timeout_s=_count(reply, "max_msg_timeout", 900_000) / 1000,
        )


def objection(reply: Mapping[str, object], options: ConnectionOptions) -> tuple[str, str] | None:
    """Return an error code and the reason why an nsqd cannot be used; None if it can.

    Args:
        reply: nsqd's JSON answer to IDENTIFY.
        options: Options that nsqd must meet.

    Raises:
        ValueError: If a limit is not a positive whole number.
    """
    if options.tls and not reply.get("tls_v1"):
        return "E_INVALID", "it has no TLS (its --tls-cert), which is required here (tls=true)"
    if reply.get("auth_required") and not options.auth_secret:
        return "E_AUTH_FIRST", "it requires an auth_secret, and none is set"
    granted = IdentifyReply.parse(reply)
    if options.msg_timeout_s is not None and granted.msg_timeout_s < _LEAST_LEASE_S:
        return "E_INVALID", (
            f"it delivers a message again after {granted.msg_timeout_s:g} s (msg_timeout in its answer to "
            f"IDENTIFY), and nsqd grants {_LEAST_LEASE_S:g} s or more"
        )
    if granted.max_msg_timeout_s < options.holds_s:
        return "E_INVALID", (
            f"it keeps a message for at most {granted.max_msg_timeout_s:g} s, and the handler may take "
            f"{options.holds_s:g} s; lower the handler's timeout_s, or raise nsqd's --max-msg-timeout"
        )
    return None


def explained(description: bytes) -> str:
    """Return the description in an error frame, with a hint where nsqd gives none."""
    hint = next((text for cause, text in _HINTS.items() if cause in description), "")
    return peer_text(description) + hint


def _count(reply: Mapping[str, object], name: str, default: int) -> int:
    value = reply.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} in the answer to IDENTIFY")
    return value
