"""Models: the kinds of class that can be an event, each with its reader, its writer and its errors."""

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from nsqkit.events.codec.pydantic_models import PydanticKind
from nsqkit.events.codec.read import Place, Read
from nsqkit.events.codec.shaped import shaped_converter, shaped_reader, shaped_writer
from nsqkit.events.shape import PLAIN, Shape

_PATH = re.compile(r"^(?P<reason>.*) - at `(?P<path>[^`]*)`$", re.DOTALL)


class ModelKind(Protocol):
    """One kind of event class.

    Attributes:
        is_msgspecs: Whether msgspec can decode this kind together with the envelope, in one pass.
    """

    is_msgspecs: bool

    def takes(self, model: Any) -> bool:
        """Return whether a class is of this kind."""

    def reader(self, model: Any, shape: Shape) -> Read:
        """Return a function from JSON to an instance."""

    def converter(self, model: Any, shape: Shape) -> Callable[[Any], Any]:
        """Return a function from plain values, as a codec reads them, to an instance."""

    def writer(self, model: Any, shape: Shape) -> Callable[[Any], Any]:
        """Return a function from an instance to what ``encode_json`` can write."""

    def explain(self, error: BaseException) -> Place | None:
        """Return the path and reason for an error of such a reader; None for other errors."""

    def is_syntax(self, error: BaseException) -> bool:
        """Return whether an error of such a reader says that the bytes are not JSON."""


class MsgspecKind:
    """Structs, dataclasses, attrs classes and TypedDicts: msgspec reads them all."""

    is_msgspecs = True

    def takes(self, model: Any) -> bool:  # noqa: ARG002 - it is the last kind to be asked
        """Return True: this kind takes what no other one does."""
        return True

    def reader(self, model: Any, shape: Shape) -> Read:
        """Return a function from JSON to an instance."""
        if shape.rename is not None or shape.decode:
            return shaped_reader(model, shape)
        return msgspec.json.Decoder(model, strict=shape.strict).decode

    def converter(self, model: Any, shape: Shape) -> Callable[[Any], Any]:
        """Return a function from plain values to an instance."""
        if shape.rename is not None or shape.decode:
            return shaped_converter(model, shape)
        return lambda plain: msgspec.convert(plain, model, strict=shape.strict)

    def writer(self, model: Any, shape: Shape) -> Callable[[Any], Any]:  # noqa: ARG002 - fields tell by themselves
        """Return a function from an instance to what ``encode_json`` can write."""
        if shape.rename is not None or shape.encode:
            return shaped_writer(shape)
        return lambda event: event

    def explain(self, error: BaseException) -> Place | None:
        """Return the path and reason of a validation error; None for any other error."""
        if not isinstance(error, msgspec.ValidationError):
            return None
        match = _PATH.match(str(error))
        return (match["path"], match["reason"]) if match else ("$", str(error))

    def is_syntax(self, error: BaseException) -> bool:
        """Return whether an error says that the bytes are not JSON."""
        return isinstance(error, msgspec.DecodeError | UnicodeDecodeError)


KINDS: tuple[ModelKind, ...] = (PydanticKind(), MsgspecKind())
"""The first kind that takes a class reads it: pydantic's, then all that msgspec reads."""


def kind_of(model: type[Any]) -> ModelKind:
    """Return the kind of a class; msgspec's kind if no other one takes it."""
    return next(kind for kind in KINDS if kind.takes(model))


def explain(error: BaseException) -> Place | None:
    """Return the path and reason of a reader's error; None if no kind knows the error."""
    return next((found for kind in KINDS if (found := kind.explain(error))), None)


def is_syntax(error: BaseException) -> bool:
    """Return whether a reader's error says that the bytes are not JSON."""
    return any(kind.is_syntax(error) for kind in KINDS)


def to_plain(value: object) -> object:
    """Convert a value that orjson cannot write into one that it can.

    Raises:
        TypeError: If the value cannot be converted.
    """
    kind = type(value)
    if hasattr(kind, "__pydantic_serializer__"):
        return kind_of(kind).writer(kind, PLAIN)(value)
    return msgspec.to_builtins(value)
