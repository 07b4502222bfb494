"""Bodies: a record of Kafka or RabbitMQ as a message of NSQ, and back. It reads and writes no broker."""

from collections.abc import Iterator
from typing import Final

from nsqkit.bridge import binary_mode, wrapping
from nsqkit.bridge.address import KafkaAddress
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import Route
from nsqkit.events.codec.envelope import Envelope, read_envelope
from nsqkit.policy.route import RefusalReason

VIA: Final = "nsqkit-via"
"""Header of records that a bridge has written, with the places that they have passed, joined by commas."""
_JSON: Final = f"{binary_mode.STRUCTURED}; charset=UTF-8"


class RefusedError(Exception):
    """NSQ cannot take a record.

    Args:
        reason: The kind of reason.
        detail: One line for a person.
    """

    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def body_of(record: Record, route: Route) -> bytes:
    """Return the message of NSQ for a record; 1 byte or more.

    Raises:
        RefusedError: If NSQ cannot take it.
    """
    if record.body is None:
        raise RefusedError(RefusalReason.TOMBSTONE, "it has no value, which deletes its key in Kafka")
    if binary_mode.is_binary(record):
        try:
            return binary_mode.read(record)
        except binary_mode.UnreadableError as error:
            raise RefusedError(RefusalReason.UNREADABLE, f"CloudEvents in binary mode: {error}") from None
    if not record.body:
        raise RefusedError(RefusalReason.EMPTY, "its body is empty, and NSQ requires 1 byte")
    if not route.wrap or binary_mode.is_structured(record.content_type) or read_envelope(record.body):
        return record.body
    return _wrapped(record, record.body, route)


def has_passed(record: Record, route: Route) -> bool:
    """Return whether a record has left the NSQ topic that a route would publish it to."""
    return any(
        route.passed in value.decode(errors="replace").split(",")
        for name, value in record.headers
        if name == VIA
    )


def record_of(body: bytes, route: Route) -> Record:
    """Return the record for a message of NSQ."""
    envelope = read_envelope(body)
    prefix: binary_mode.Prefix = "ce_" if isinstance(route.target, KafkaAddress) else "cloudEvents_"
    written = binary_mode.write(body, prefix) if route.mode == "binary" and envelope else None
    data, headers, content_type = written or (body, (), _JSON if envelope else "")
    return Record(
        body=data,
        headers=(*headers, *_traces(envelope), (VIA, route.passed.encode())),
        content_type=content_type,
        key=_key(envelope) if route.has_key else None,
    )


def _wrapped(record: Record, body: bytes, route: Route) -> bytes:
    attributes = wrapping.attributes_of(
        record,
        route.topic,
        route.source.label,
        route.headers,
        has_position=isinstance(route.source, KafkaAddress),
    )
    known = wrapping.texts(record.headers)
    traces = {name: known[name] for name in binary_mode.TRACE if name in known}
    return binary_mode.enveloped({**attributes, **traces}, body, record.content_type)


def _traces(envelope: Envelope | None) -> Iterator[tuple[str, bytes]]:
    for name in binary_mode.TRACE:
        value = None if envelope is None else envelope.extensions.get(name)
        if isinstance(value, str):
            yield name, value.encode()


def _key(envelope: Envelope | None) -> bytes | None:
    key = None if envelope is None else envelope.extensions.get("partitionkey")
    return key.encode() if isinstance(key, str) else None
