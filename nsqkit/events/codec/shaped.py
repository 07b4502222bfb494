"""Shaped: reads and writes events whose JSON has other names or values than their class.

A class is read through a Struct that has its fields under the names in JSON. Classes inside of it too.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from nsqkit.errors import EventError
from nsqkit.events.codec.read import Read
from nsqkit.events.codec.values import field_names
from nsqkit.events.shape import Shape

Build = Callable[[Any], Any]
"""From what msgspec read to the value of the field."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    name: str
    argument: str
    wire_name: str
    annotation: Any
    is_required: bool


class _Hooked(type):
    """The type of a field with a hook: msgspec hands its value to the hook, and takes whatever it returns."""

    function: Callable[[Any], Any]

    def __instancecheck__(cls, _value: object) -> bool:
        return True


def shaped_reader(model: Any, shape: Shape) -> Read:
    """Return a function from JSON to an instance of a class.

    Raises:
        EventError: If ``rename`` names a field that no class has.
        TypeError: If a field's type cannot be read.
    """
    wire, build = _Shaping(shape).root(model)
    read = msgspec.json.Decoder(wire, strict=shape.strict, dec_hook=_call).decode
    return lambda raw: build(read(raw))


def shaped_converter(model: Any, shape: Shape) -> Callable[[Any], Any]:
    """Return a function from plain values to an instance of a class; raises as ``shaped_reader``."""
    wire, build = _Shaping(shape).root(model)
    return lambda plain: build(msgspec.convert(plain, wire, strict=shape.strict, dec_hook=_call))


def shaped_writer(shape: Shape) -> Callable[[Any], Any]:
    """Return a function from an event to plain values under the names in JSON."""

    @functools.lru_cache(maxsize=1024)
    def names_of(kind: Any) -> tuple[tuple[str, str], ...]:
        return tuple((each.name, each.wire_name) for each in _fields(kind, shape))

    def write(value: Any) -> Any:
        kind: Any = type(value)
        for hooked, function in shape.encode.items():
            if isinstance(value, hooked):
                return function(value)
        if _is_model(kind):
            fields = {wire_name: write(getattr(value, name)) for name, wire_name in names_of(kind)}
            return _tag(kind) | fields
        if isinstance(value, Mapping):
            return {key: write(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [write(inner) for inner in value]
        return value

    return write


def _call(kind: Any, value: Any) -> Any:
    if not isinstance(kind, _Hooked):
        raise NotImplementedError(f"no hook for {kind!r}")
    return kind.function(value)


class _Shaping:
    """Turns annotations into what msgspec reads, and functions that build the values from it."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._renamed: set[str] = set()
        self._structs: dict[Any, tuple[Any, Build | None] | None] = {}

    def root(self, model: Any) -> tuple[Any, Build]:
        wire, inner = self._model(model)
        build = inner or _same
        if isinstance(self._shape.rename, Mapping) and (odd := set(self._shape.rename) - self._renamed):
            raise EventError(f"rename names {min(odd)!r}, which is no field of {model.__name__}")
        return wire, build

    def _model(self, model: Any) -> tuple[Any, Build | None]:
        if model in self._structs:
            found = self._structs[model]
            if found is None:
                raise EventError(
                    f"{model.__name__} contains itself, so rename= and decode= cannot read it; "
                    "make it a Struct or a pydantic model, which rename and convert by themselves"
                )
            return found
        self._structs[model] = None
        fields = tuple(_fields(model, self._shape))
        self._renamed.update(each.name for each in fields)
        builds: dict[str, tuple[str, Build | None]] = {}
        kept: list[Any] = []

        def build(read: Any) -> Any:
            values: dict[str, Any] = {}
            for name, (argument, inner) in builds.items():
                value = getattr(read, name)
                if value is not msgspec.UNSET:
                    values[argument] = value if inner is None else inner(value)
            return model(**values)

        for each in fields:
            wire, inner = self._annotation(each.annotation)
            builds[each.name] = (each.argument, inner)
            default = (
                msgspec.field(name=each.wire_name)
                if each.is_required
                else msgspec.field(name=each.wire_name, default=msgspec.UNSET)
            )
            kept.append((each.name, wire, default))
        if _is_same(fields, kept):
            self._structs[model] = (model, None)
            return model, None
        field, tag = next(iter(_tag(get_origin(model) or model).items()), (None, None))
        struct = msgspec.defstruct(_name(model), kept, kw_only=True, tag=tag, tag_field=field)
        self._structs[model] = (struct, build)
        return struct, build

    def _annotation(self, kind: Any) -> tuple[Any, Build | None]:
        """Return what msgspec reads for an annotation, and what builds the value; None if nothing does."""
        while hasattr(kind, "__supertype__"):
            kind = kind.__supertype__
        if isinstance(kind, type) and kind in self._shape.decode:
            function = self._shape.decode[kind]
            return _Hooked(_name(kind), (), {"function": staticmethod(function)}), None
        if _is_model(kind):
            return self._model(kind)
        if get_origin(kind) is Annotated:
            inner, *more = get_args(kind)
            wire, build = self._annotation(inner)
            return (kind, None) if wire is inner else (Annotated[(wire, *more)], build)
        return self._generic(kind)

    def _generic(self, kind: Any) -> tuple[Any, Build | None]:
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is None or origin is typing.Literal:
            return kind, None
        found = [(each, None) if each is ... else self._annotation(each) for each in arguments]
        if all(wire is each for (wire, _), each in zip(found, arguments, strict=True)):
            return kind, None
        wires, builds = tuple(wire for wire, _ in found), [build for _, build in found]
        if origin in (typing.Union, types.UnionType):
            return typing.Union[wires], _union(found)  # noqa: UP007 - a tuple of types
        is_record = issubclass(origin, tuple) and ... not in arguments
        return origin[wires], _container(origin, builds, is_record=is_record) if any(builds) else None


def _union(found: list[tuple[Any, Build | None]]) -> Build | None:
    builds = [(get_origin(wire) or wire, build) for wire, build in found if build is not None]

    def build(value: Any) -> Any:
        inner = next((inner for kind, inner in builds if isinstance(value, kind)), _same)
        return inner(value)

    return build if builds else None


def _container(origin: Any, builds: list[Build | None], *, is_record: bool) -> Build:
    first, last = builds[0] or _same, builds[-1] or _same
    if issubclass(origin, Mapping):
        return lambda value: {first(key): last(inner) for key, inner in value.items()}
    if is_record:
        return lambda value: tuple((each or _same)(inner) for each, inner in zip(builds, value, strict=True))
    return lambda value: type(value)(first(inner) for inner in value)


def _is_same(fields: Sequence[_Field], kept: Sequence[tuple[str, Any, Any]]) -> bool:
    """Return whether a class can be read as it is: no field has another name or another type in JSON."""
    return all(
        each.name == each.wire_name and wire is each.annotation
        for each, (_, wire, _) in zip(fields, kept, strict=True)
    )


def _same(value: Any) -> Any:
    return value


def _is_model(kind: Any) -> bool:
    plain = get_origin(kind) or kind
    return (
        isinstance(plain, type)
        and field_names(plain) is not None
        and not hasattr(plain, "__pydantic_fields__")
    )


def _fields(model: Any, shape: Shape) -> Iterator[_Field]:
    plain = get_origin(model) or model
    hints = _hints(model)
    if hasattr(plain, "__struct_fields__"):
        for each in msgspec.structs.fields(plain):
            yield _Field(each.name, each.name, each.encode_name, hints[each.name], each.required)
    elif hasattr(plain, "__attrs_attrs__"):
        for each in plain.__attrs_attrs__:
            if each.init:
                is_required = type(each.default).__name__ == "_Nothing"
                wire_name = shape.name_of(each.name)
                yield _Field(each.name, each.alias or each.name, wire_name, hints[each.name], is_required)
    else:
        missing = dataclasses.MISSING
        for part in dataclasses.fields(plain):
            if part.init:
                is_required = part.default is missing and part.default_factory is missing
                yield _Field(part.name, part.name, shape.name_of(part.name), hints[part.name], is_required)


def _hints(model: Any) -> dict[str, Any]:
    """Return the annotations of a class, with the arguments of a generic one put in."""
    plain = get_origin(model) or model
    hints = typing.get_type_hints(plain, include_extras=True)
    arguments = dict(zip(getattr(plain, "__parameters__", ()), get_args(model), strict=False))
    return {name: _put_in(kind, arguments) for name, kind in hints.items()}


def _put_in(kind: Any, arguments: Mapping[Any, Any]) -> Any:
    if isinstance(kind, TypeVar):
        return arguments.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    return kind[tuple(arguments.get(each, each) for each in parameters)] if parameters and arguments else kind


def _tag(kind: Any) -> dict[str, Any]:
    config = getattr(kind, "__struct_config__", None)
    return {config.tag_field: config.tag} if config is not None and config.tag is not None else {}


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", "Shaped")
