"""Envelope: what surrounds an event, a CloudEvent 1.0 in structured JSON (ADR 0006)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from nsqkit.events.stamp import Stamp

SPEC_VERSION = "1.0"
MARK = b'"specversion"'
"""A body without it is a bare event."""

_DATA = frozenset({"data", "data_base64"})


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent without its data.

    Args:
        type: Such as ``order.created.v1``.
        source: Who published it.
        id: Unique together with *source*.
        subject: What it is about, if the producer says so.
        time: When it was published, RFC 3339, if the producer says so.
        datacontenttype: The media type of the data, if the producer says so.
        dataschema: Where the schema of the data is, if the producer says so.
        extensions: All other attributes, such as ``traceparent`` and ``correlationid``.
    """

    type: str
    source: str
    id: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, Any] = {}


_ATTRIBUTES = frozenset(Envelope.__struct_fields__) - {"extensions"}
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_value = msgspec.json.Decoder(Any).decode


def read_envelope(body: bytes) -> Envelope | None:
    """Return the envelope of a body; None for a bare body, or one that is not a valid envelope."""
    if MARK not in body:
        return None
    try:
        members = _read_members(body)
        values = {name: _read_value(raw) for name, raw in members.items() if name not in _DATA}
        if values.pop("specversion", None) is None:
            return None
        known = {name: value for name, value in values.items() if name in _ATTRIBUTES and value is not None}
        extensions = {name: value for name, value in values.items() if name not in _ATTRIBUTES}
        return msgspec.convert({**known, "extensions": extensions}, Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def envelope_of(wire_type: str, stamp: Stamp, extensions: Mapping[str, str]) -> dict[str, Any]:
    """Return the attributes of an envelope in the order in which they are written.

    Args:
        wire_type: Such as ``order.created.v1``.
        stamp: Who publishes it, and when.
        extensions: Further attributes.
    """
    attributes: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "type": wire_type,
        "source": stamp.source,
        "id": stamp.event_id,
        "time": stamp.time,
        "datacontenttype": "application/json",
    }
    if stamp.traceparent is not None:
        attributes["traceparent"] = stamp.traceparent
    if stamp.tracestate is not None:
        attributes["tracestate"] = stamp.tracestate
    attributes.update(extensions)
    return attributes
