"""Bare bodies: which event type a body without an envelope has, when there are several."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import msgspec

from nsqkit.events.codec.faults import FaultError
from nsqkit.events.types import EventType, Select

Parse = Callable[[bytes], Any]
Mark = tuple[str, frozenset[object]]
"""A field and the values that it has in one event type."""

_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_value = msgspec.json.Decoder().decode


class NotTakenError(Exception):
    """A bare body is of a type that the handler does not take.

    Args:
        event_type: The value that says so; empty if it is only known that the type is another one.
    """

    def __init__(self, event_type: str) -> None:
        super().__init__(event_type)
        self.event_type = event_type


def chooser(
    taken: Sequence[EventType],
    others: Sequence[EventType],
    select: Select | None,
    parse: Parse | None = None,
) -> Callable[[bytes], str] | None:
    """Return a function from a bare body to its wire type; None if there is only one type.

    Args:
        taken: The event types that the handler takes; one or more. A single one takes every bare body that
            does not say that it is another type.
        others: Further event types of the topic.
        select: The handler's own choice; it wins over marks in the body.
        parse: Reads a body that is not JSON into plain values; None for JSON.
    """
    if select is not None:
        return _selecting(taken, select, parse or _read_value)
    marks = _marks((*taken, *others)) or _marks(taken)
    is_one = len(taken) == 1
    if is_one and (marks is None or (not others and _tag(taken[0].model) is None)):
        return None
    if marks is None:
        return _refusing(taken)
    name, by_value = marks
    wire_types = {value: known.wire_type for value, known in by_value.items() if known in taken}
    return _by_mark(name, wire_types, default=taken[0].wire_type if is_one else None)


def _selecting(taken: Sequence[EventType], select: Select, parse: Parse) -> Callable[[bytes], str]:
    by_model = {known.model: known.wire_type for known in taken}

    def choose(body: bytes) -> str:
        model = select(parse(body))
        if model is None:
            raise NotTakenError("")
        if model not in by_model:
            names = ", ".join(known.__name__ for known in by_model)
            raise FaultError("$", f"select returned {model!r}; it must return None or one of {names}")
        return by_model[model]

    return choose


def _by_mark(name: str, wire_types: Mapping[object, str], default: str | None) -> Callable[[bytes], str]:
    values = ", ".join(repr(each) for each in wire_types)

    def choose(body: bytes) -> str:
        raw = _read_members(body).get(name)
        value = None if raw is None else _read_value(raw)
        if value is None and default is not None:
            return default
        if not isinstance(value, str | int):
            raise FaultError(f"$.{name}", f"must name the event type, as one of: {values}")
        if value not in wire_types:
            raise NotTakenError(str(value))
        return wire_types[value]

    return choose


def _refusing(taken: Sequence[EventType]) -> Callable[[bytes], str]:
    names = ", ".join(known.wire_type for known in taken)
    reason = f"no CloudEvents envelope, and the handler takes several event types ({names})"

    def choose(body: bytes) -> str:
        _read_value(body)
        raise FaultError("$", reason)

    return choose


def _marks(known: Sequence[EventType]) -> tuple[str, Mapping[object, EventType]] | None:
    """Return the field that has another value in each event type, and the type for each value."""
    found = [dict(_marks_of(each.model)) for each in known]
    for name in found[0]:
        if all(name in marks for marks in found):
            pairs = [(value, each) for each, marks in zip(known, found, strict=True) for value in marks[name]]
            if len(dict(pairs)) == len(pairs):
                return name, dict(pairs)
    return None


def _marks_of(model: Any) -> Iterator[Mark]:
    """Yield the tag of a Struct, and the fields of a pydantic model with a fixed value."""
    if (tag := _tag(model)) is not None:
        yield tag
    for name, field in getattr(model, "__pydantic_fields__", {}).items():
        if get_origin(field.annotation) is Literal:
            alias = field.validation_alias if isinstance(field.validation_alias, str) else None
            yield alias or name, frozenset(get_args(field.annotation))


def _tag(model: Any) -> Mark | None:
    config = getattr(model, "__struct_config__", None)
    if config is None or config.tag is None:
        return None
    return config.tag_field, frozenset((config.tag,))
