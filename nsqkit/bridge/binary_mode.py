"""Binary mode: CloudEvents whose attributes are headers of Kafka or AMQP, as the envelope of NSQ and back.

Source:
    The Kafka and AMQP protocol bindings of CloudEvents 1.0.2, sections 3.2 and 3.1.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from nsqkit.bridge.record import Headers, Record
from nsqkit.events.codec.envelope import SPEC_VERSION, Envelope, is_json, read_envelope, read_parts
from nsqkit.events.codec.faults import FaultError
from nsqkit.events.codec.formats import encode_json, loads

Prefix = Literal["ce_", "cloudEvents_"]
"""How the headers of attributes begin that are written to Kafka, and to RabbitMQ."""
STRUCTURED: Final = "application/cloudevents+json"
TRACE: Final = ("traceparent", "tracestate")
_PREFIXES: Final = ("ce_", "cloudEvents:", "cloudEvents_")
_REQUIRED: Final = ("type", "source", "id")
_DATA: Final = ("data", "data_base64")
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii"})


class UnreadableError(Exception):
    """Headers announce an event of CloudEvents, and are not one; the text says why."""


def is_structured(content_type: str) -> bool:
    """Return whether a media type is that of a whole envelope in JSON, or of another form of whole events."""
    return content_type.strip().lower().startswith("application/cloudevents")


def is_binary(record: Record) -> bool:
    """Return whether the headers of a record have the attributes of an event."""
    marks = tuple(f"{prefix}specversion" for prefix in _PREFIXES)
    return not is_structured(record.content_type) and any(name in marks for name, _ in record.headers)


def read(record: Record) -> bytes:
    """Return the envelope of an event in binary mode.

    Args:
        record: A record with the headers of an event, and a body.

    Raises:
        UnreadableError: If an attribute is missing, given twice, or not text.
    """
    attributes = _attributes(record.headers)
    for name in _REQUIRED:
        if not attributes.get(name):
            raise UnreadableError(f"its headers have no {name}")
    if not attributes["specversion"].startswith("1."):
        raise UnreadableError(f"its specversion is {attributes['specversion']!r:.40}, not 1.0")
    traces = {name: value.decode(errors="replace") for name, value in record.headers if name in TRACE}
    return enveloped({**traces, **attributes}, record.body or b"", record.content_type)


def enveloped(attributes: Mapping[str, Any], body: bytes, content_type: str) -> bytes:
    """Return an envelope: data as JSON if that is its media type, as a string if it is text, else in base64.

    Args:
        attributes: The attributes; ``datacontenttype`` is replaced.
        body: The data; empty for an event without data.
        content_type: Media type of the data; empty if unknown, as JSON has none in an envelope.
    """
    known = content_type or attributes.get("datacontenttype", "")
    head = {name: value for name, value in attributes.items() if name != "datacontenttype"}
    if known:
        head["datacontenttype"] = known
    if not body:
        return encode_json(head)
    if (not known or is_json(known)) and _is_json_text(body):
        return encode_json(head)[:-1] + b',"data":' + body + b"}"  # its numbers stay as they are
    text = _text(body, known)
    return encode_json(
        {**head, **({"data_base64": base64.b64encode(body).decode()} if text is None else {"data": text})}
    )


def write(body: bytes, prefix: Prefix) -> tuple[bytes, Headers, str] | None:
    """Return the data, the headers and the media type of an event in structured mode.

    Args:
        body: A message of NSQ.
        prefix: How the names of the headers begin.

    Returns:
        None if it is not an envelope.
    """
    envelope = read_envelope(body)
    if envelope is None:
        return None
    try:
        parts = read_parts(body)
        parts.check()
        is_empty = parts.data_base64 is None and bytes(parts.data) in {b"", b"null"}
        data, member = (b"", "data") if is_empty else parts.payload()
    except FaultError:
        return None
    default = "application/json" if member == "data" and not is_empty else ""
    headers = {"specversion": SPEC_VERSION, **_texts(envelope)}
    named = tuple((f"{prefix}{name}", value.encode()) for name, value in headers.items())
    return bytes(data), named, envelope.datacontenttype or default


def _attributes(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for header, value in headers:
        prefix = next((each for each in _PREFIXES if header.startswith(each)), None)
        if prefix is None:
            continue
        name = header.removeprefix(prefix)
        if name in found or not name or name in _DATA:
            raise UnreadableError(f"its header {header!r:.60} is given twice, or names no attribute")
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            raise UnreadableError(f"its header {header!r:.60} is not text in UTF-8") from None
    return found


def _texts(envelope: Envelope) -> dict[str, str]:
    """Return the attributes as text, without the media type, which has a place of its own."""
    known = {
        "type": envelope.type,
        "source": envelope.source,
        "id": envelope.id,
        "subject": envelope.subject,
        "time": envelope.time,
        "dataschema": envelope.dataschema,
        **envelope.extensions,
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        for name, value in known.items()
        if value is not None
    }


def _is_json_text(body: bytes) -> bool:
    try:
        loads(body)
    except ValueError:
        return False
    return True


def _text(body: bytes, content_type: str) -> str | None:
    """Return a text of a media type that is text in UTF-8; else None."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    charsets = [
        each.removeprefix("charset=").strip('"') for each in parameters if each.startswith("charset=")
    ]
    if not kind.startswith("text/") or is_json(content_type) or not _UTF8.issuperset(charsets):
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
