"""Binary: codecs of formats that are not JSON: plain bytes, MessagePack and Protocol Buffers."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from nsqkit.events.codec.codecs import shape_of
from nsqkit.events.codec.faults import FaultError
from nsqkit.events.codec.models import kind_of
from nsqkit.events.codec.values import field_names
from nsqkit.events.shape import Shape

T = TypeVar("T")


class BytesCodec:
    """Plain bytes: the one field of the event has the whole data, such as an image or a line of text."""

    content_type = "application/octet-stream"

    def decode(self, data: bytes, model: type[T], /) -> T:
        """Return an event whose one field is the data."""
        return model(**{_only_field(model): data})

    def encode(self, event: Any, /) -> bytes:
        """Return the value of the event's one field."""
        return bytes(getattr(event, _only_field(type(event))))

    def problem(self, model: type[Any]) -> str | None:
        """Return what keeps a class from being read by this codec; None if nothing does."""
        names = field_names(model) or ()
        if len(names) == 1:
            return None
        return f"BytesCodec needs an event with one field of bytes, and {model.__name__} has {len(names)}"


class WholeBody(BytesCodec):
    """Plain bytes of a whole body: also of one with an envelope, whose type and data nobody looks at.

    It is for handlers that pass messages on. An event with this codec is the only one of its handler.
    """


class MsgpackCodec:
    """MessagePack, by msgspec."""

    content_type = "application/vnd.msgpack"
    shape: Shape | None = None

    def decode(self, data: bytes, model: type[T], /) -> T:
        """Return the event in MessagePack.

        Raises:
            ValueError: If it is not MessagePack, or not the event.
        """
        return cast("T", _converter(cast("Any", model), self.shape or shape_of(model))(self.parse(data)))

    def encode(self, event: Any, /) -> bytes:
        """Return an event as MessagePack.

        Raises:
            TypeError: If it has a value that MessagePack does not have.
        """
        kind = type(event)
        return msgspec.msgpack.encode(kind_of(kind).writer(kind, self.shape or shape_of(kind))(event))

    def parse(self, data: bytes) -> Any:
        """Return the plain values in MessagePack."""
        try:
            return msgspec.msgpack.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise FaultError("$", f"not MessagePack: {error}") from None


class ProtobufCodec:
    """Protocol Buffers: the event is a class that protoc generated, decorated by a call of ``event``.

    The classes bring the package ``protobuf`` along, which the extra ``protobuf`` installs.
    """

    content_type = "application/protobuf"

    def decode(self, data: bytes, model: type[T], /) -> T:
        """Return the message in bytes.

        Raises:
            google.protobuf.message.DecodeError: If it is no such message.
        """
        return cast("T", cast("Any", model).FromString(data))

    def encode(self, event: Any, /) -> bytes:
        """Return the bytes of a message.

        Raises:
            google.protobuf.message.EncodeError: If a required field is not set.
        """
        return cast("bytes", event.SerializeToString(deterministic=True))

    def problem(self, model: type[Any]) -> str | None:
        """Return what keeps a class from being read by this codec; None if nothing does."""
        if hasattr(model, "FromString") and hasattr(model, "SerializeToString"):
            return None
        return f"ProtobufCodec needs a class that protoc generated, and {model.__name__} is none"


@lru_cache(maxsize=256)
def _converter(model: Any, shape: Shape) -> Callable[[Any], Any]:
    return kind_of(model).converter(model, shape)


def _only_field(model: type[Any]) -> str:
    (name,) = field_names(model) or ("",)
    return name
