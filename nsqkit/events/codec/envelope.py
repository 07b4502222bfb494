"""The envelope of an event: CloudEvents 1.0 in structured JSON (ADR 0006), written and taken apart."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from nsqkit.events.codec.faults import FaultError
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


class _Origin(msgspec.Struct):
    """What an envelope must have to be one, and to identify its event."""

    type: str
    source: str
    id: str
    specversion: Any = None
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None


_ATTRIBUTES = frozenset(Envelope.__struct_fields__) - {"extensions"}
_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_value = msgspec.json.Decoder(Any).decode
_read_origin = msgspec.json.Decoder(_Origin).decode


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


def read_origin(body: bytes) -> tuple[str, str] | None:
    """Return source and id of an envelope, as :func:`read_envelope` has them, in one pass."""
    if MARK not in body:
        return None
    try:
        found = _read_origin(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if found.specversion is None else (found.source, found.id)


class Parts(msgspec.Struct):
    """The members of an envelope that decide how it is read; any of them may be missing or invalid."""

    specversion: Any = None
    type: Any = None
    source: Any = None
    id: Any = None
    traceparent: Any = None
    tracestate: Any = None
    correlationid: Any = None
    datacontenttype: Any = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: Any = None

    @property
    def is_envelope(self) -> bool:
        """Whether these are parts of a CloudEvent, not of a bare event with a field of the same name."""
        given = sum(value is not None for value in (self.type, self.source, self.id))
        return given == _REQUIRED or (given > 0 and isinstance(self.specversion, str))

    def text(self, name: str) -> str:
        """Return a required attribute.

        Raises:
            FaultError: If it is not a text of one or more characters.
        """
        value = getattr(self, name)
        if isinstance(value, str) and value:
            return value
        found = "" if value is None else f", not {value!r:.60}"
        raise FaultError(f"$.{name}", f"must be a non-empty string{found}")

    def check(self) -> None:
        """Check what CloudEvents requires beside the texts.

        Raises:
            FaultError: If the version is another one, or there is data twice.
        """
        version = self.specversion
        if not (isinstance(version, str) and _VERSION.fullmatch(version)):
            raise FaultError("$.specversion", f"must be '1.0', not {version!r:.60}")
        if self.data_base64 is not None and self.data not in _ABSENT:
            raise FaultError("$", "has data and data_base64; an event has one of them")

    def payload(self) -> tuple[bytes | msgspec.Raw, str]:
        """Return the data's bytes and the name of the member that has them.

        A text whose content type is not JSON is the content itself.

        Raises:
            FaultError: If there is no data, or it is not base64.
        """
        if self.data_base64 is not None:
            return self._decoded(), "data_base64"
        if not self.data:
            raise FaultError("$.data", "the envelope has no data")
        kind = self.datacontenttype
        if isinstance(kind, str) and not is_json(kind) and bytes(self.data).startswith(b'"'):
            return _read_text(self.data).encode(), "data"
        return self.data, "data"

    def _decoded(self) -> bytes:
        if not isinstance(self.data_base64, str):
            raise FaultError("$.data_base64", f"must be a string, not {self.data_base64!r:.60}")
        try:
            return base64.b64decode(self.data_base64, validate=True)
        except (binascii.Error, ValueError) as error:
            raise FaultError("$.data_base64", f"not base64: {error}") from None


_REQUIRED = 3
_VERSION = re.compile(r"1\.[0-9]+")
_ABSENT = (msgspec.Raw(), msgspec.Raw(b"null"))
_JSON = re.compile(r"[^/;]+/([^;]+\+)?json\s*(;.*)?", re.IGNORECASE)
_read_text = msgspec.json.Decoder(str).decode
_read_batch = msgspec.json.Decoder(list[Parts]).decode
read_parts = msgspec.json.Decoder(Parts).decode


def batch_size(body: bytes) -> int:
    """Return how many events a JSON array of CloudEvents has; 0 for any other body."""
    try:
        events = _read_batch(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return len(events) if events and events[0].is_envelope else 0


def is_json(content_type: str) -> bool:
    """Return whether a media type declares JSON, as ``application/json`` and ``text/x+json`` do."""
    return _JSON.fullmatch(content_type.strip()) is not None


def envelope_of(
    wire_type: str, stamp: Stamp, extensions: Mapping[str, str], content_type: str = "application/json"
) -> dict[str, Any]:
    """Return the attributes of an envelope, in the order for writing.

    Args:
        wire_type: Event type with its version, such as ``order.created.v1``.
        stamp: Source, id and time of the event.
        extensions: Further attributes by name, such as ``traceparent`` and ``correlationid``.
        content_type: Media type of the data.
    """
    return {
        "specversion": SPEC_VERSION,
        "type": wire_type,
        "source": stamp.source,
        "id": stamp.event_id,
        "time": stamp.time,
        "datacontenttype": content_type,
        **extensions,
    }
