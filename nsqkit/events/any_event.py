"""AnyEvent: the type of all events for type checkers, without an import of the packages that make them."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, TypeAlias


class StructEvent(Protocol):
    """A ``msgspec.Struct``."""

    __struct_fields__: ClassVar[tuple[str, ...]]


class DataclassEvent(Protocol):
    """A dataclass of Python or of pydantic."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


class PydanticEvent(Protocol):
    """A pydantic model."""

    __pydantic_fields__: ClassVar[dict[str, Any]]


class AttrsEvent(Protocol):
    """A class of attrs."""

    __attrs_attrs__: ClassVar[Any]


class ProtobufEvent(Protocol):
    """A class that protoc generated."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name that protoc gives
        """Return the message as bytes."""


AnyEvent: TypeAlias = (
    StructEvent | DataclassEvent | PydanticEvent | AttrsEvent | ProtobufEvent | Mapping[str, Any]
)
"""Instances of every kind of event class; a TypedDict is a mapping. The bound of a team's own ``TypeVar``."""
