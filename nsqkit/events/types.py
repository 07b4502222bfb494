"""Event types: which classes are events, under which name and version, and how old ones are lifted."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from nsqkit.errors import EventError
from nsqkit.policy.names import topic_problem

E = TypeVar("E")
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
_NAME = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True, slots=True)
class EventType:
    """What ``@event`` said about a class.

    Args:
        name: Such as ``order.created``.
        version: 1 or more.
        topic: Where such events are published unless told otherwise; None for nowhere.
        model: The class.
    """

    name: str
    version: int
    topic: str | None
    model: type[Any]

    @property
    def wire_type(self) -> str:
        """The envelope's ``type``, such as ``order.created.v1``."""
        return f"{self.name}.v{self.version}"


class EventRegistry:
    """The event types of this process, and the functions that lift old versions."""

    def __init__(self) -> None:
        self._by_model: dict[type[Any], EventType] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, event_type: EventType) -> None:
        """Register an event type; the same class defined again (a reload) replaces itself.

        Raises:
            EventError: If another class has the same name and version, or this class has others.
        """
        model, wire_type = event_type.model, event_type.wire_type
        twice = self._by_model.get(model)
        if twice is not None and twice.wire_type != wire_type:
            raise EventError(f"{_where(model)} is already the event {twice.wire_type}; remove one @event")
        for other in self._by_model.values():
            if other.wire_type == wire_type and not _same_definition(other.model, model):
                raise EventError(
                    f"{_where(model)}: {wire_type} is already the event {_where(other.model)}; "
                    "raise the version, or choose another name",
                )
        self._by_model = {old: known for old, known in self._by_model.items() if known.wire_type != wire_type}
        self._by_model[model] = event_type

    def of(self, model: type[Any]) -> EventType:
        """Return what ``@event`` said about a class.

        Raises:
            EventError: If the class is not decorated with ``@event``.
        """
        known = self._by_model.get(model)
        if known is None:
            raise EventError(
                f'{_where(model)} is not an event: decorate it with @event("some.name", version=1)',
            )
        return known

    def on_topic(self, topic: str) -> tuple[EventType, ...]:
        """Return the event types that are published on a topic."""
        return tuple(known for known in self._by_model.values() if known.topic == topic)

    def add_upcaster(self, name: str, from_version: int, function: Upcaster) -> None:
        """Register how data of one version becomes data of the next.

        Raises:
            EventError: If another function reads the same version.
        """
        other = self._upcasters.get((name, from_version))
        if other is not None and not _same_definition(other, function):
            raise EventError(
                f"{_where(function)}: {name} v{from_version} is already lifted by {_where(other)}; "
                "remove one",
            )
        self._upcasters[name, from_version] = function

    def upcasters(self, target: EventType, from_version: int) -> tuple[Upcaster, ...]:
        """Return the functions that lift an old version to *target*, in order; none if one is missing."""
        steps = [
            self._upcasters.get((target.name, version)) for version in range(from_version, target.version)
        ]
        found = tuple(step for step in steps if step is not None)
        return found if len(found) == len(steps) else ()


REGISTRY = EventRegistry()


def event(name: str, *, version: int, topic: str | None = None) -> Callable[[type[E]], type[E]]:
    """Make a dataclass, ``msgspec.Struct`` or pydantic model an event.

    Put it above ``@dataclass``. The envelope's ``type`` becomes ``<name>.v<version>``.

    Args:
        name: Dotted words, such as ``order.created``.
        version: 1 or more; raise it when old readers could not read the new shape.
        topic: Where events of this type are published; their handlers then need no topic.

    Raises:
        EventError: If the class is of another kind, a name or the version is invalid, or another
            class has the same name and version.
    """

    def decorate(model: type[E]) -> type[E]:
        problem = _event_problem(model, name, version, topic)
        if problem:
            raise EventError(f"{_where(model)}: {problem}")
        REGISTRY.add(EventType(name, version, topic, model))
        return model

    return decorate


def upcast(name: str, *, from_version: int) -> Callable[[Upcaster], Upcaster]:
    """Register a function that turns the data of one version into that of the next.

    The function gets the old ``data`` object as a dict and returns a new one, before it is
    decoded; a chain of them lifts over several versions.

    Args:
        name: The event's name, such as ``order.created``.
        from_version: The version it reads; it writes the next. 1 or more.

    Raises:
        EventError: If another function reads the same version.
    """

    def decorate(function: Upcaster) -> Upcaster:
        if type(from_version) is not int or from_version < 1:
            raise EventError(
                f"{_where(function)}: from_version={from_version!r} must be a whole number from 1"
            )
        REGISTRY.add_upcaster(name, from_version, function)
        return function

    return decorate


def is_model(model: type[Any]) -> bool:
    """Return whether a class is of a kind that can be an event."""
    marks = ("__dataclass_fields__", "__struct_fields__", "model_fields")
    return any(hasattr(model, mark) for mark in marks)


def _event_problem(model: type[Any], name: str, version: int, topic: str | None) -> str | None:
    if not is_model(model):
        return (
            f"@event({name!r}) needs a dataclass, a msgspec.Struct or a pydantic model; "
            "if it is a dataclass, put @event above @dataclass"
        )
    if not _NAME.fullmatch(name):
        return f"event name {name!r} must be words of letters and digits joined by dots, like order.created"
    if type(version) is not int or version < 1:
        return f"version={version!r} must be a whole number from 1"
    hidden = [each for each in getattr(model, "__dataclass_fields__", ()) if each.startswith("_")]
    if hidden:
        return f"field {hidden[0]!r} begins with _ and would not be published; name it without"
    return None if topic is None else topic_problem(topic)


def _same_definition(one: object, other: object) -> bool:
    return _where(one) == _where(other)


def _where(thing: object) -> str:
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', thing)}"
