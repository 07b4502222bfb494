"""Wrapping: the envelope around a body that is not an event, with headers of its record as attributes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from nsqkit.bridge.record import Headers, Record
from nsqkit.events.codec.envelope import SPEC_VERSION
from nsqkit.events.stamp import stamp
from nsqkit.policy.names import EPHEMERAL

_NOT_IN_NAMES: Final = re.compile(r"[^a-z0-9]")
_TAKEN: Final = frozenset(
    {
        "specversion",
        "type",
        "source",
        "id",
        "time",
        "datacontenttype",
        "dataschema",
        "subject",
        "data",
        "database64",
    }
)


def attribute_of(header: str) -> str:
    """Return the name of the attribute for a header: CloudEvents allows a-z and 0-9."""
    return _NOT_IN_NAMES.sub("", header.lower())


def header_problem(header: str) -> str | None:
    """Return why a header cannot become an attribute; None if it can."""
    name = attribute_of(header)
    if not name:
        return f"has {header!r:.40}, in which no character of a-z 0-9 is left"
    return (
        f"has {header!r:.40}, which would replace the attribute {name} of the envelope"
        if name in _TAKEN
        else None
    )


def type_of(topic: str) -> str:
    """Return the type of the envelopes on an NSQ topic, which a handler declares as its event."""
    return f"{topic.removesuffix(EPHEMERAL)}.record.v1"


def attributes_of(
    record: Record, topic: str, source: str, headers: Sequence[str], *, has_position: bool
) -> dict[str, Any]:
    """Return the attributes of an envelope around a record, without its data.

    Args:
        record: The record.
        topic: The NSQ topic that it is published to.
        source: Where it is from, the ``source``.
        headers: Names of the headers to keep.
        has_position: Whether its position stays the same when it is read again, so that it makes the ``id``.
    """
    made = stamp(source)
    attributes: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "type": type_of(topic),
        "source": source,
        "id": f"{record.origin}@{record.position}" if has_position else made.event_id,
    }
    if record.content_type:
        attributes["datacontenttype"] = record.content_type
    values = texts(record.headers)
    attributes |= {attribute_of(name): values[name] for name in headers if name in values}
    return attributes


def texts(headers: Headers) -> Mapping[str, str]:
    """Return the headers that are text in UTF-8; of several with one name, the last."""
    found = {}
    for name, value in headers:
        try:
            found[name] = value.decode()
        except UnicodeDecodeError:
            continue
    return found
