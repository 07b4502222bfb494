"""Brackets: the event classes that a handler class takes, followed through its generic base classes."""

import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin


def events_of(cls: type, kind: type) -> tuple[Any, ...]:
    """Return the event classes that a class puts into the brackets of a base class.

    Type variables are followed by substitution, whatever their order and number. Unions, ``type`` aliases,
    ``Annotated`` and ``NewType`` are what they are made of.

    Args:
        cls: The class being created.
        kind: The base class whose brackets contain events; other generic bases are ignored.

    Returns:
        The members of a union, or the one class; empty without brackets or with a type variable.
    """
    argument = _argument(cls, kind)
    members = tuple(dict.fromkeys(_members(argument))) if argument is not None else ()
    return () if any(isinstance(each, TypeVar) for each in members) else members


def _argument(base: Any, kind: type) -> Any:
    """Return what a base class puts into the brackets of *kind*; None if it is nothing."""
    origin = get_origin(base) or base
    if not (isinstance(origin, type) and issubclass(origin, kind)):
        return None
    if origin is kind:
        return next(iter(get_args(base)), None)
    arguments = dict(zip(getattr(origin, "__parameters__", ()), get_args(base), strict=False))
    bases = origin.__dict__.get("__orig_bases__", origin.__bases__)
    found = next((found for each in bases if (found := _argument(each, kind)) is not None), None)
    return _put_in(found, arguments)


def _put_in(kind: Any, arguments: Mapping[Any, Any]) -> Any:
    """Return an annotation with type variables replaced by arguments."""
    if isinstance(kind, TypeVar):
        return arguments.get(kind, kind)
    parameters = getattr(kind, "__parameters__", ())
    if not parameters or not arguments:
        return kind
    return kind[tuple(arguments.get(each, each) for each in parameters)]


def _members(kind: Any) -> Iterator[Any]:
    """Yield the classes that an annotation is made of."""
    origin = get_origin(kind)
    alias = origin or kind
    if origin in (typing.Union, types.UnionType):
        for each in get_args(kind):
            yield from _members(each)
    elif origin is Annotated:
        yield from _members(get_args(kind)[0])
    elif type(alias).__name__ == "TypeAliasType":  # of Python 3.12, or of typing_extensions
        yield from _members(
            _put_in(alias.__value__, dict(zip(alias.__type_params__, get_args(kind), strict=False)))
        )
    elif hasattr(kind, "__supertype__"):
        yield from _members(kind.__supertype__)
    else:
        yield kind
