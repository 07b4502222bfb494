"""IDENTIFY: what a client asks for, and what the broker grants. Pure.

Source:
    nsqd/client_v2.go (Identify), nsqd/protocol_v2.go (IDENTIFY).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from nsqkit.devbroker.limits import VERSION, Limits
from nsqkit.devbroker.wire import ProtocolError

_OUTPUT_BUFFER_BYTES = 16 * 1024
_OUTPUT_BUFFER_MS = 250
_MIN_MS = 1000
_OUTPUT_BUFFER_BYTES_RANGE = range(64, 64 * 1024 + 1)
_OUTPUT_BUFFER_MS_RANGE = range(25, 30_000 + 1)
_SAMPLE_RATE_RANGE = range(100)
_MAX_DEFLATE_LEVEL = 6
_TYPES: dict[str, type] = {
    "client_id": str,
    "hostname": str,
    "user_agent": str,
    "heartbeat_interval": int,
    "output_buffer_size": int,
    "output_buffer_timeout": int,
    "sample_rate": int,
    "msg_timeout": int,
    "deflate_level": int,
    "feature_negotiation": bool,
    "tls_v1": bool,
    "snappy": bool,
    "deflate": bool,
}


@dataclass(frozen=True, slots=True)
class Identity:
    """One client's name and settings, as negotiated.

    ``heartbeat_s`` is None if the client wants no heartbeats. ``output_buffer_bytes`` is 1 if
    nothing is buffered; ``output_buffer_ms`` is 0 if only a full buffer is sent.
    """

    client_id: str
    hostname: str
    user_agent: str
    heartbeat_s: float | None
    msg_timeout_s: float
    output_buffer_bytes: int = _OUTPUT_BUFFER_BYTES
    output_buffer_ms: int = _OUTPUT_BUFFER_MS
    sample_rate: int = 0
    negotiates: bool = False


def anonymous(host: str, limits: Limits) -> Identity:
    """Return the identity of a client at *host* that has not sent IDENTIFY."""
    return Identity(host, host, "", limits.heartbeat_s, limits.msg_timeout_s)


def identify(body: bytes, limits: Limits) -> Identity:
    """Return the identity that the body of an IDENTIFY asks for, checked.

    Raises:
        ProtocolError: If the body is not JSON with the right types, or a value is out of range.
    """
    fields = read_fields(body, _TYPES)
    heartbeat_ms = _in_range(
        "heartbeat interval",
        fields["heartbeat_interval"],
        range(_MIN_MS, round(limits.max_heartbeat_s * 1000) + 1),
        or_off=True,
    )
    buffer_ms = _in_range(
        "output buffer timeout", fields["output_buffer_timeout"], _OUTPUT_BUFFER_MS_RANGE, or_off=True
    )
    buffer_bytes = _in_range(
        "output buffer size", fields["output_buffer_size"], _OUTPUT_BUFFER_BYTES_RANGE, or_off=True
    )
    sample_rate = _in_range("sample rate", fields["sample_rate"], _SAMPLE_RATE_RANGE)
    timeout_range = range(_MIN_MS, round(limits.max_msg_timeout_s * 1000) + 1)
    timeout_ms = _in_range("msg timeout", fields["msg_timeout"], timeout_range)
    if fields["feature_negotiation"] and fields["snappy"] and fields["deflate"]:
        raise ProtocolError("E_IDENTIFY_FAILED", "cannot enable both deflate and snappy compression")
    return Identity(
        client_id=fields["client_id"],
        hostname=fields["hostname"],
        user_agent=fields["user_agent"],
        heartbeat_s=None if heartbeat_ms < 0 else heartbeat_ms / 1000 or limits.heartbeat_s,
        msg_timeout_s=timeout_ms / 1000 or limits.msg_timeout_s,
        output_buffer_bytes=1 if buffer_bytes < 0 else buffer_bytes or _OUTPUT_BUFFER_BYTES,
        output_buffer_ms=0 if min(buffer_ms, buffer_bytes) < 0 else buffer_ms or _OUTPUT_BUFFER_MS,
        sample_rate=sample_rate,
        negotiates=fields["feature_negotiation"],
    )


def identify_reply(identity: Identity, limits: Limits) -> bytes:
    """Return the answer to IDENTIFY: OK, or JSON for a client that negotiates features.

    The reply says that TLS, snappy, deflate and AUTH are off, whatever the client asked for.
    """
    if not identity.negotiates:
        return b"OK"
    return orjson.dumps(
        {
            "max_rdy_count": limits.max_rdy_count,
            "version": VERSION,
            "max_msg_timeout": round(limits.max_msg_timeout_s * 1000),
            "msg_timeout": round(identity.msg_timeout_s * 1000),
            "tls_v1": False,
            "deflate": False,
            "deflate_level": _MAX_DEFLATE_LEVEL,
            "max_deflate_level": _MAX_DEFLATE_LEVEL,
            "snappy": False,
            "sample_rate": identity.sample_rate,
            "auth_required": False,
            "output_buffer_size": identity.output_buffer_bytes,
            "output_buffer_timeout": identity.output_buffer_ms,
        },
    )


def read_fields(body: bytes, kinds: Mapping[str, type[Any]]) -> dict[str, Any]:
    """Return the fields of an IDENTIFY body as Go reads them; a missing field has the zero of its type.

    Args:
        body: A JSON object.
        kinds: The type of every field, by its lower-case name.

    Raises:
        ProtocolError: If the body is not a JSON object, or a field has another type.
    """
    refusal = ProtocolError("E_BAD_BODY", "IDENTIFY failed to decode JSON body")
    try:
        values = orjson.loads(body.decode("utf-8", "replace"))  # as Go does
    except orjson.JSONDecodeError:
        raise refusal from None
    values = {} if values is None else values  # Go takes null for an empty object
    if not isinstance(values, dict):
        raise refusal
    values = {name.lower(): value for name, value in values.items()}  # Go ignores the case of names
    fields: dict[str, Any] = {}
    for name, kind in kinds.items():
        value = values.get(name)
        if value is not None and type(value) is not kind:
            raise refusal
        fields[name] = kind() if value is None else value
    return fields


def _in_range(what: str, value: int, allowed: range, *, or_off: bool = False) -> int:
    """Return the value if it is allowed, 0 (the default) or, with *or_off*, -1 (off)."""
    if value in allowed or value == 0 or (or_off and value == -1):
        return value
    raise ProtocolError("E_BAD_BODY", f"IDENTIFY {what} ({value}) is invalid")
