"""The encoder: writes typed events as bodies."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

import orjson

from nsqkit.errors import EncodeError, EventError
from nsqkit.events.codec.codecs import JsonCodec
from nsqkit.events.codec.envelope import envelope_of
from nsqkit.events.codec.formats import encode_json
from nsqkit.events.codec.generics import with_arguments
from nsqkit.events.codec.readback import Writer
from nsqkit.events.stamp import Stamp
from nsqkit.events.typed import Typed
from nsqkit.events.types import REGISTRY, EventRegistry, EventType

_NONE: Mapping[str, str] = MappingProxyType({})


def encode(
    event: object,
    stamp: Stamp,
    registry: EventRegistry = REGISTRY,
    extensions: Mapping[str, str] = _NONE,
    max_bytes: float = math.inf,
) -> tuple[EventType, bytes]:
    """Return an event's type and its body: a CloudEvent, or the data alone if its codec has no envelope.

    Args:
        event: An instance of a class decorated with ``@event``, or ``Typed``.
        stamp: Source, id and time of the event.
        registry: Registry of the event types.
        extensions: Further attributes of the envelope, such as ``correlationid``.
        max_bytes: An event with more data is not read back, because nobody will publish it.

    Raises:
        EncodeError: If the object is not an event, or a reader would not get it back as it is.
    """
    known = type_of(event, registry)
    if type(event) is Typed:
        event = event.event
    writer = _writer(known)
    if writer.is_generic:
        writer = _writer(replace(known, model=with_arguments(known.model, event)))
    data = writer.data(event, max_bytes)
    if not known.is_enveloped:
        return known, data
    codec = known.codec
    if codec is None or isinstance(codec, JsonCodec):
        envelope = envelope_of(known.wire_type, stamp, extensions)
        envelope["data"] = orjson.Fragment(data)
    else:
        envelope = envelope_of(known.wire_type, stamp, extensions, codec.content_type)
        envelope["data_base64"] = data
    return known, encode_json(envelope)


def type_of(event: object, registry: EventRegistry = REGISTRY) -> EventType:
    """Return the event type of an object to publish.

    Raises:
        EncodeError: If the object is not an event.
    """
    if type(event) is dict:
        raise EncodeError("cannot publish: a dict is not an event; publish Typed(YourTypedDict, …) instead")
    try:
        return registry.of(event.event_class if isinstance(event, Typed) else type(event))
    except EventError as error:
        raise EncodeError(f"cannot publish: {error}") from None


@lru_cache(maxsize=1024)
def _writer(known: EventType) -> Writer:
    try:
        return Writer(known)
    except Exception as error:
        raise EncodeError(f"cannot publish {known.wire_type}: {type(error).__name__}: {error}") from error
