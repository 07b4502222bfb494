"""What a connection asks of nsqd in IDENTIFY, and what nsqd grants. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from nsqkit.nsq.tls import Tls

_HINTS = {
    b"IDENTIFY msg timeout": "; lower msg_timeout_s, or raise nsqd's --max-msg-timeout",
    b"TLS required": "; set tls=true",
}


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What every connection asks of nsqd, and how long it waits for the answer.

    Args:
        client_id: Shown in nsqd's statistics; None for the short host name.
        hostname: Shown in nsqd's statistics; None for the host name.
        user_agent: Shown in nsqd's statistics.
        heartbeat_s: Between two heartbeats, in whole seconds; 1 to 60.
        msg_timeout_s: After which nsqd delivers an unanswered message again; 1 to 900. None for
            nsqd's own default, as for all who only publish: nsqd refuses more than its limit.
        holds_s: For how long a message must be kept by TOUCH if need be, that is the handler's
            timeout_s; an nsqd whose max-msg-timeout is shorter is refused. 0 or more.
        output_buffer_bytes: Messages that nsqd joins into one write; 64 to 65536.
        output_buffer_ms: How long nsqd holds them at most; 25 to 30000.
        connect_timeout_s: For each of the name's look-up, a TCP connect and the handshake; above 0.
        auth_secret: Sent only to an nsqd that asks for it; with *tls* only inside that.
        tls: How to speak TLS, without which nothing but IDENTIFY is sent then; None for plain text.
        compression: ``deflate`` or ``snappy``, used where nsqd grants it; or ``none``.
        deflate_level: 1 to 9; nsqd's own side goes up to its --max-deflate-level.

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


@dataclass(frozen=True, slots=True)
class IdentifyReply:
    """What nsqd granted; the defaults are nsqd's own.

    Args:
        version: nsqd's own, or empty.
        max_rdy_count: Highest RDY that it takes on one connection.
        msg_timeout_s: Lease of a message on this connection, in seconds.
        max_msg_timeout_s: Longest time for which TOUCH keeps a message, in seconds.
    """

    version: str = ""
    max_rdy_count: int = 2500
    msg_timeout_s: float = 60.0
    max_msg_timeout_s: float = 900.0

    @classmethod
    def parse(cls, reply: Mapping[str, object]) -> Self:
        """Read nsqd's JSON answer; what it leaves out has its default.

        Raises:
            ValueError: If a limit is not a positive whole number.
        """
        return cls(
            version=str(reply.get("version", "")),
            max_rdy_count=_count(reply, "max_rdy_count", 2500),
            msg_timeout_s=_count(reply, "msg_timeout", 60_000) / 1000,
            max_msg_timeout_s=_count(reply, "max_msg_timeout", 900_000) / 1000,
        )


def objection(reply: Mapping[str, object], options: ConnectionOptions) -> tuple[str, str] | None:
    """Return an error code, and why an nsqd that answers so cannot be used; None if it can.

    Args:
        reply: nsqd's JSON answer.
        options: What is asked of it.

    Raises:
        ValueError: If a limit is not a positive whole number.
    """
    if options.tls and not reply.get("tls_v1"):
        return "E_INVALID", "it has no TLS (its --tls-cert), which is required here (tls=true)"
    if reply.get("auth_required") and not options.auth_secret:
        return "E_AUTH_FIRST", "it requires an auth_secret, and none is set"
    max_msg_timeout_s = IdentifyReply.parse(reply).max_msg_timeout_s
    if max_msg_timeout_s < options.holds_s:
        return "E_INVALID", (
            f"it keeps a message for {max_msg_timeout_s:g} s at most, and the handler may take "
            f"{options.holds_s:g} s; lower the handler's timeout_s, or raise nsqd's --max-msg-timeout"
        )
    return None


def explained(description: bytes) -> str:
    """Return what follows the code in an error frame, with what to change where nsqd does not say so."""
    hint = next((text for cause, text in _HINTS.items() if cause in description), "")
    return description.decode(errors="replace") + hint


def _count(reply: Mapping[str, object], name: str, default: int) -> int:
    value = reply.get(name, default)
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r} in the answer to IDENTIFY")
    return value
