"""Generics: the type arguments of an event's class, as its values show them: instances do not keep them."""

import typing
from collections.abc import Collection, Iterable, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

Kinds = dict[Any, None]
"""Types in the order in which they were found."""


def with_arguments(model: Any, event: Any) -> Any:
    """Return a generic class with the type arguments that an instance of it has.

    Args:
        model: The class, without arguments.
        event: The instance. A type variable without a value is ``Any``.
    """
    found = _arguments(model, event)
    return model[tuple(_union(found.get(parameter, {})) for parameter in model.__parameters__)]


def _arguments(model: Any, event: Any) -> dict[Any, Kinds]:
    found: dict[Any, Kinds] = {}
    for name, kind in typing.get_type_hints(model).items():
        if hasattr(event, name):
            _bind(kind, getattr(event, name), found)
    return found


def _bind(kind: Any, value: Any, found: dict[Any, Kinds]) -> None:
    """Add the types that the type variables of an annotation have in a value."""
    if isinstance(kind, TypeVar):
        found.setdefault(kind, {})[_kind_of(value)] = None
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        pairs = [(each, value) for each in arguments]
    elif origin is tuple and Ellipsis not in arguments:
        pairs = list(zip(arguments, value, strict=False)) if isinstance(value, tuple) else []
    elif isinstance(value, Mapping):
        pairs = [pair for item in value.items() for pair in zip(arguments, item, strict=False)]
    elif isinstance(value, Collection) and not isinstance(value, str | bytes):
        pairs = [(each, item) for item in value for each in arguments[:1]]
    else:
        inner = _arguments(origin, value) if getattr(origin, "__parameters__", ()) else {}
        for parameter, argument in zip(getattr(origin, "__parameters__", ()), arguments, strict=False):
            if isinstance(argument, TypeVar):
                found.setdefault(argument, {}).update(inner.get(parameter, {}))
        return
    for each, item in pairs:
        _bind(each, item, found)


def _kind_of(value: Any) -> Any:
    """Return the type of a value, with the types of what is in it."""
    kind = type(value)
    if kind in {list, set, frozenset}:
        return kind[_union_of(value)]
    if kind is dict:
        return dict[_union_of(value), _union_of(value.values())]  # type: ignore[misc]
    if kind is tuple:
        return tuple[tuple(map(_kind_of, value))]  # type: ignore[misc]
    return with_arguments(kind, value) if getattr(kind, "__parameters__", ()) else kind


def _union_of(values: Iterable[Any]) -> Any:
    return _union(dict.fromkeys(map(_kind_of, values)))


def _union(kinds: Kinds) -> Any:
    return Union[tuple(kinds)] if kinds else Any  # noqa: UP007 - of types that are only known now
