"""Codecs: JSON as a codec, and the readers of data in any codec."""

from copy import copy
from functools import lru_cache
from typing import Any, TypeVar, cast

from nsqkit.events.codec.faults import FaultError, fault
from nsqkit.events.codec.formats import encode_json
from nsqkit.events.codec.models import explain, is_syntax, kind_of
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.codec.read import Read
from nsqkit.events.shape import PLAIN, Shape
from nsqkit.events.types import REGISTRY, EventType

T = TypeVar("T")


class JsonCodec:
    """JSON: the default inside an envelope; named as a codec it is published without one."""

    content_type = "application/json"
    shape: Shape | None = None

    def decode(self, data: bytes, model: type[T], /) -> T:
        """Return the event in a JSON text.

        Raises:
            ValueError: If it is not JSON, or not the event; the text names the path or the byte.
        """
        return cast("T", json_reader(cast("Any", model), self.shape or shape_of(model))(data))

    def encode(self, event: Any, /) -> bytes:
        """Return an event as JSON.

        Raises:
            EncodeError: If it has a value that JSON does not have.
        """
        kind = type(event)
        return encode_json(kind_of(kind).writer(kind, self.shape or shape_of(kind))(event))


def shaped(codec: Codec, shape: Shape) -> Codec:
    """Return a codec that reads and writes classes in a shape, if it is one that knows their fields.

    Args:
        codec: Any codec; it is not changed.
        shape: The shape that an event declares.
    """
    if not hasattr(codec, "shape"):
        return codec
    found: Any = copy(codec)
    found.shape = shape
    return cast("Codec", found)


def reader_of(known: EventType, codec: Codec | None) -> Read:
    """Return a function from data to events of a type.

    Args:
        known: The event type.
        codec: Codec of the data; None for JSON.
    """
    if codec is None:
        return kind_of(known.model).reader(known.model, known.shape)
    model, decode = known.model, shaped(codec, known.shape).decode
    return lambda raw: decode(bytes(raw), model)


@lru_cache(maxsize=256)
def json_reader(model: Any, shape: Shape) -> Read:
    """Return a function from JSON to an event that names the byte or the path of what is wrong."""
    read = kind_of(model).reader(model, shape)

    def decode(data: Any) -> Any:
        try:
            return read(data)
        except Exception as error:
            if (place := explain(error)) is not None:
                raise FaultError(*place) from None
            if is_syntax(error):
                raise FaultError("$", f"not JSON: {fault(bytes(data), str(error))}") from None
            raise

    return decode


def shape_of(model: Any) -> Shape:
    """Return the shape that an event class declares; that of its fields if it declares none."""
    known = REGISTRY.known(model)
    return known.shape if known is not None else PLAIN
