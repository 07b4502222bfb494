"""Event types: register classes as events, with name and version, and upcast old versions."""

import builtins
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast, get_origin, overload

from nsqkit.errors import EventError
from nsqkit.events.codec.protocol import Codec, codec_problem
from nsqkit.events.shape import PLAIN, Hooks, Rename, Shape, shape_problem
from nsqkit.policy.names import topic_problem

E = TypeVar("E")
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
Select = Callable[[Any], type[Any] | None]
"""Takes the parsed body; returns the event class, or None if the handler does not take it."""
_KINDS = ("__struct_fields__", "__dataclass_fields__", "__pydantic_fields__", "__attrs_attrs__", "__total__")
"""What marks a Struct, a dataclass, a class of pydantic, an attrs class and a TypedDict."""
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class EventType:
    """The registration of a class by ``@event``.

    Args:
        name: Name of the event, such as ``order.created``.
        version: Version of the schema; 1 or more.
        topic: Default topic for publishing; None if the caller must name one.
        model: Class whose instances are the events.
        exact: The envelope's ``type`` if other systems chose it; None if name and version make it.
        shape: How its JSON differs from the class.
        codec: Format of the data; None for JSON.
        is_enveloped: Whether it is published in an envelope.
    """

    name: str
    version: int
    topic: str | None
    model: type[Any]
    exact: str | None = None
    shape: Shape = PLAIN
    codec: Codec | None = None
    is_enveloped: bool = True

    @property
    def wire_type(self) -> str:
        """The envelope's ``type``, such as ``order.created.v1``."""
        return self.exact or f"{self.name}.v{self.version}"


class EventRegistry:
    """The event types of this process, and their upcasters.

    Attributes:
        topics: The default topics of all event types.
    """

    def __init__(self) -> None:
        self.topics: frozenset[str] = frozenset()
        self._by_model: dict[type[Any], EventType] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, event_type: EventType) -> None:
        """Register an event type; a class that is defined again, as after a reload, replaces itself.

        Raises:
            EventError: If another class has the same name and version, or this class is another event.
        """
        model, wire_type = event_type.model, event_type.wire_type
        twice = self._by_model.get(model)
        if twice is not None and twice.wire_type != wire_type:
            raise EventError(f"{_where(model)} is already the event {twice.wire_type}; remove one @event")
        for other in self._by_model.values():
            if other.wire_type == wire_type and not _same_definition(other.model, model):
                remedy = "remove one" if event_type.exact else "raise the version, or choose another name"
                raise EventError(
                    f"{_where(model)}: {wire_type} is already the event {_where(other.model)}; {remedy}",
                )
        self._by_model = {old: known for old, known in self._by_model.items() if known.wire_type != wire_type}
        self._by_model[model] = event_type
        self.topics = frozenset(known.topic for known in self._by_model.values() if known.topic)

    def of(self, model: type[Any]) -> EventType:
        """Return the event type of a class.

        Raises:
            EventError: If the class is not decorated with ``@event``.
        """
        known = self.known(model)
        if known is None:
            raise EventError(
                f'{_where(model)} is not an event: decorate it with @event("some.name", version=1)',
            )
        return known

    def known(self, model: Any) -> EventType | None:
        """Return the event type of a class, or of a generic one with arguments; None if it is no event."""
        known = self._by_model.get(model)
        if known is None and (origin := _origin(model)) in self._by_model:
            return replace(self._by_model[origin], model=model)
        return known

    def on_topic(self, topic: str) -> tuple[EventType, ...]:
        """Return the event types whose default topic is *topic*."""
        return tuple(known for known in self._by_model.values() if known.topic == topic)

    def add_upcaster(self, name: str, from_version: int, function: Upcaster) -> None:
        """Register a function that converts data of one version into the next.

        Raises:
            EventError: If the version already has another upcaster.
        """
        other = self._upcasters.get((name, from_version))
        if other is not None and not _same_definition(other, function):
            raise EventError(
                f"{_where(function)}: {name} v{from_version} already has the upcaster {_where(other)}; "
                "remove one",
            )
        self._upcasters[name, from_version] = function

    def upcasters(self, target: EventType, from_version: int) -> tuple[Upcaster, ...]:
        """Return the upcasters from an old version to *target*, in order; none if one is missing."""
        steps = [
            self._upcasters.get((target.name, version)) for version in range(from_version, target.version)
        ]
        found = tuple(step for step in steps if step is not None)
        return found if len(found) == len(steps) else ()


REGISTRY = EventRegistry()


@overload
def event(
    name: str,
    *,
    version: int,
    topic: str | None = None,
    type: str | None = None,
    rename: Rename | None = None,
    strict: bool = True,
    decode: Hooks | None = None,
    encode: Hooks | None = None,
    codec: Codec | None = None,
    envelope: bool | None = None,
) -> Callable[[builtins.type[E]], builtins.type[E]]: ...
@overload
def event(
    name: str,
    *,
    type: str,
    topic: str | None = None,
    rename: Rename | None = None,
    strict: bool = True,
    decode: Hooks | None = None,
    encode: Hooks | None = None,
    codec: Codec | None = None,
    envelope: bool | None = None,
) -> Callable[[builtins.type[E]], builtins.type[E]]: ...
def event(
    name: str,
    *,
    version: int | None = None,
    topic: str | None = None,
    type: str | None = None,  # noqa: A002 - the envelope's own word
    rename: Rename | None = None,
    strict: bool = True,
    decode: Hooks | None = None,
    encode: Hooks | None = None,
    codec: Codec | None = None,
    envelope: bool | None = None,
) -> Callable[[builtins.type[E]], builtins.type[E]]:
    """Make a dataclass, ``msgspec.Struct`` or pydantic model an event.

    Put it above ``@dataclass``. The envelope's ``type`` becomes ``<name>.v<version>``.

    Args:
        name: Words joined by dots, such as ``order.created``.
        version: Version of the schema, 1 or more; raise it when old readers cannot read the new schema. It
            may be omitted with *type*.
        topic: Default topic for publishing; handlers of the event subscribe to it unless they name another.
        type: The envelope's exact ``type``, for events of other systems, such as
            ``Microsoft.Storage.BlobCreated``; upcasters do not apply to it.
        rename: Names of the fields in JSON: ``"camel"`` (``orderId``), ``"pascal"`` (``OrderId``), or a
            mapping from field to name. For dataclasses and attrs classes, also inside of the event.
        strict: False also takes numbers and booleans in texts, and seconds since 1970 as times.
        decode: Functions by the type of a field, from the JSON value to the value of the field; what they
            raise makes the message a dead letter.
        encode: Functions by the type of a field, from its value to the JSON value that ``decode`` takes.
        codec: Format of the data instead of JSON, such as ``GzipCodec()``.
        envelope: Whether the event is published in an envelope; by default unless there is a codec.

    Raises:
        EventError: If the class is of another kind, a value is invalid or not for this kind of class, or
            another class has the same name and version, or the same type.
    """
    number = 1 if version is None and type is not None else version
    shape = Shape(rename, strict, decode or {}, encode or {})
    is_enveloped = codec is None if envelope is None else envelope

    def decorate(model: builtins.type[E]) -> builtins.type[E]:
        problem = (
            _event_problem(model, name, number, topic, codec)
            or _type_problem(type)
            or shape_problem(shape, model)
            or _codec_problem(model, codec, envelope)
        )
        if problem:
            raise EventError(f"{_where(model)}: {problem}")
        REGISTRY.add(EventType(name, cast("int", number), topic, model, type, shape, codec, is_enveloped))
        return model

    return decorate


def upcast(name: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register a function that converts an event's data from one version to the next.

    The function gets the old ``data`` object as a dict, before decoding, and returns the new one. A chain of
    functions converts over several versions.

    Args:
        name: Name of the event, such as ``order.created``.
        from_version: Version that the function reads, 1 or more; it returns the next one.

    Raises:
        EventError: If *from_version* is invalid, or the version already has another upcaster.
    """

    def decorate(function: Upcaster) -> Upcaster:
        if type(from_version) is not int or from_version < 1:
            raise EventError(
                f"{_where(function)}: from_version={from_version!r} must be a whole number of 1 or more"
            )
        REGISTRY.add_upcaster(name, from_version, function)
        return function

    return decorate


def is_model(model: Any) -> bool:
    """Return whether a class can be an event of JSON."""
    return inspect.isclass(model) and any(hasattr(model, mark) for mark in _KINDS)


def _event_problem(
    model: type[Any], name: str, version: object, topic: str | None, codec: object
) -> str | None:
    if not (is_model(model) or (codec is not None and inspect.isclass(model))):
        return (
            f"@event({name!r}) needs a dataclass, a msgspec.Struct or a pydantic model; "
            "if it is a dataclass, put @event above @dataclass"
        )
    if not _NAME.fullmatch(name):
        return f"event name {name!r} must be words of letters and digits joined by dots, like order.created"
    if type(version) is not int or version < 1:
        return f"version={version!r} must be a whole number of 1 or more"
    hidden = [each for each in getattr(model, "__dataclass_fields__", ()) if each.startswith("_")]
    if hidden:
        return f"field {hidden[0]!r} begins with _, so it would not be published; rename it"
    return None if topic is None else topic_problem(topic)


def _type_problem(exact: object) -> str | None:
    if exact is None or (isinstance(exact, str) and exact and exact.isprintable()):
        return None
    return f"type={exact!r} must be the text that producers send as type, such as com.example.created"


def _codec_problem(model: type[Any], codec: object, envelope: object) -> str | None:
    if envelope not in (None, True, False):
        return f"envelope={envelope!r} is not True or False"
    if codec is None:
        return None if envelope is not False else "envelope=False is for an event with a codec: JsonCodec()"
    return codec_problem(codec, model)


def _origin(model: Any) -> Any:
    """Return the generic class of one with arguments, such as ``Page`` of ``Page[Order]``; None without."""
    return get_origin(model) or getattr(model, "__pydantic_generic_metadata__", {}).get("origin")


def _same_definition(one: object, other: object) -> bool:
    return _where(one) == _where(other)


def _where(thing: object) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', thing)}"
