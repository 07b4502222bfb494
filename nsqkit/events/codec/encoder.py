"""The encoder: writes typed events as bodies."""

from collections.abc import Mapping
from types import MappingProxyType

from nsqkit.errors import EncodeError, EventError
from nsqkit.events.codec.envelope import envelope_of
from nsqkit.events.codec.formats import encode_json
from nsqkit.events.stamp import Stamp
from nsqkit.events.types import REGISTRY, EventRegistry, EventType

_NONE: Mapping[str, str] = MappingProxyType({})


def encode(
    event: object, stamp: Stamp, registry: EventRegistry = REGISTRY, extensions: Mapping[str, str] = _NONE
) -> tuple[EventType, bytes]:
    """Return an event's type and its CloudEvents body.

    Args:
        event: An instance of a class decorated with ``@event``.
        stamp: Source, id and time of the event.
        registry: Registry of the event types.
        extensions: Further attributes of the envelope, such as ``correlationid``.

    Raises:
        EncodeError: If the object is not an event, or contains a value that JSON cannot represent.
    """
    known = type_of(event, registry)
    envelope = envelope_of(known.wire_type, stamp, extensions)
    envelope["data"] = event
    return known, encode_json(envelope)


def type_of(event: object, registry: EventRegistry = REGISTRY) -> EventType:
    """Return the event type of an object to publish.

    Raises:
        EncodeError: If the object is not an event.
    """
    try:
        return registry.of(type(event))
    except EventError as error:
        raise EncodeError(f"cannot publish: {error}") from None
