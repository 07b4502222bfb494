"""Signatures: types and defaults of arguments, as a reader writes them."""

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin

_PLAIN: Final = {None: "None", type(None): "None", ...: "..."}


class Argument(NamedTuple):
    """One argument of a class or a function.

    Args:
        name: Its name.
        kind: Its type, as source text.
        default: Its default value, as source text; empty for a required argument.
        is_by_name: Whether it can be given by its name only.
    """

    name: str
    kind: str
    default: str
    is_by_name: bool


def arguments(called: Callable[..., Any]) -> Iterator[Argument]:
    """Yield the arguments of a function, or of a class's constructor."""
    factories = _factories(called)
    for name, parameter in inspect.signature(called).parameters.items():
        if name == "self":
            continue
        default = factories[name]() if name in factories else parameter.default
        shown = "" if default is inspect.Parameter.empty else value_text(default)
        is_by_name = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        yield Argument(name, type_text(parameter.annotation), shown, is_by_name)


def _factories(called: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    """Return what makes the defaults of a data class, by argument."""
    if not is_dataclass(called):
        return {}
    return {each.name: each.default_factory for each in fields(called) if each.default_factory is not MISSING}


def type_text(annotation: Any) -> str:
    """Return a type as source text, without the modules that its names come from."""
    if isinstance(annotation, list):
        return f"[{', '.join(map(type_text, annotation))}]"
    if annotation in _PLAIN or isinstance(annotation, str):
        return str(_PLAIN.get(annotation, annotation))
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(f'"{each}"' for each in parts)
    if origin in {types.UnionType, typing.Union}:
        return " | ".join(map(type_text, parts))
    if parts:
        return f"{getattr(origin, '__name__', origin)}[{', '.join(map(type_text, parts))}]"
    return str(getattr(annotation, "__name__", annotation))


def without_none(kind: str) -> str:
    """Return the source text of a type with its ``| None`` left out: a keyword is given or not."""
    return kind.removesuffix(" | None")


def value_text(value: Any) -> str:
    """Return a default value as source text."""
    if isinstance(value, tuple):
        inner = ", ".join(map(value_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, type):
        return value.__name__
    if is_dataclass(value):
        return f"{type(value).__name__}()"
    if isinstance(value, types.MappingProxyType):
        return "{}" if not value else repr(dict(value))
    if callable(value):
        return "…"
    return f'"{value}"' if isinstance(value, str) else repr(value)
