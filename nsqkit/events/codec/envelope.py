"""The envelope of an event: CloudEvents 1.0 in structured JSON (ADR 0006)."""

from collections.abc import Mapping
from typing import Any

import msgspec

from nsqkit.events.stamp import Stamp

SPEC_VERSION = "1.0"
MARK = b'"specversion"'
"""A body without this name has no envelope: it is a bare event."""

_DATA = frozenset({"data", "data_base64"})


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvent without its data.

    Args:
        type: Event type with its version, such as ``order.created.v1``.
        source: Name of the publisher.
        id: Id of the event, unique together with *source*.
        subject: Subject of the event; None if the producer sent none.
        time: Time of publishing in RFC 3339; None if the producer sent none.
        datacontenttype: Media type of the data; None if the producer sent none.
        dataschema: URI of the data's schema; None if the producer sent none.
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
    """Return the envelope of a body; None for a bare body or an invalid envelope."""
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
    """Return the attributes of an envelope, in the order for writing.

    Args:
        wire_type: Event type with its version, such as ``order.created.v1``.
        stamp: Source, id and time of the event.
        extensions: Further attributes by name, such as ``traceparent`` and ``correlationid``.
    """
    return {
        "specversion": SPEC_VERSION,
        "type": wire_type,
        "source": stamp.source,
        "id": stamp.event_id,
        "time": stamp.time,
        "datacontenttype": "application/json",
        **extensions,
    }
