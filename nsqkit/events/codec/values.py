"""Values: the fields and items in events of any kind, and what in them cannot be published."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

_LEAST, _MOST = -(2**63), 2**64 - 1
_DEEPEST = 100
Difference = tuple[str, Any, Any]


def field_names(model: Any) -> tuple[str, ...] | None:
    """Return the names of the fields that an event class compares; None for a class of no kind."""
    if (names := getattr(model, "__struct_fields__", None)) is not None:
        return tuple(names)
    if (fields := getattr(model, "__pydantic_fields__", None)) is not None:
        return tuple(fields)
    if dataclasses.is_dataclass(model):
        return tuple(each.name for each in dataclasses.fields(model) if each.compare)
    if (attributes := getattr(model, "__attrs_attrs__", None)) is not None:
        return tuple(each.name for each in attributes if each.eq)
    return None


def difference(sent: Any, found: Any, path: str = "") -> Difference | None:
    """Return the first place at which two values differ, with both; None if they are equal.

    Classes that do not define equality are compared by their fields.

    Args:
        sent: The published value.
        found: The value that a reader gets.
        path: Path of both, such as ``lines[0]``.
    """
    is_equal = _equal(sent, found)
    if is_equal or (_is_nan(sent) and _is_nan(found)):
        return None
    if type(sent) is not type(found) or path.count(".") > _DEEPEST:
        return path, sent, found
    inner, other = dict(children(sent)), dict(children(found))
    if not inner or inner.keys() != other.keys():
        return path, sent, found
    pairs = ((f"{path}{place}", inner[place], other[place]) for place in inner)
    differing = (difference(mine, theirs, place.lstrip(".")) for place, mine, theirs in pairs)
    by_parts = next((each for each in differing if each is not None), None)
    if by_parts is None and is_equal is False and not _has_nan(sent) and "__eq__" in _defined(type(sent)):
        return path, sent, found  # the class compares something else
    return by_parts


def culprit(value: Any, path: str = "", depth: int = 0) -> tuple[str, str] | None:
    """Return the path of the first value that JSON does not have, and the reason; None if there is none."""
    if depth > _DEEPEST:
        return path, "nested too deeply"
    if (reason := _reason(value)) is not None:
        return path, reason
    parts = [(f"{path}{place}".lstrip("."), inner) for place, inner in children(value)]
    if isinstance(value, Mapping):
        parts += [(f"{path}[{shown(key)}]", key) for key in value]
    found = (culprit(inner, place, depth + 1) for place, inner in parts)
    return next((each for each in found if each is not None), None)


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a model, mapping or sequence with their places, such as ``.name`` and ``[0]``."""
    if (names := field_names(type(value))) is not None:
        for name in names:
            if hasattr(value, name):
                yield f".{name}", getattr(value, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield f"[{key!r}]", inner
    elif isinstance(value, list | tuple | set | frozenset):
        for index, inner in enumerate(value):
            yield f"[{index}]", inner


def shown(value: object) -> str:
    """Return a value's repr, cut to a length for one line."""
    try:
        return f"{value!r:.60}"
    except Exception:  # noqa: BLE001 - a team's __repr__ may raise anything
        return f"a {type(value).__name__}"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _has_nan(value: Any) -> bool:
    return _is_nan(value) or any(_has_nan(inner) for _, inner in children(value))


def _defined(kind: type[Any]) -> set[str]:
    return {name for base in kind.__mro__[:-1] for name in vars(base)}


def _equal(one: Any, other: Any) -> bool | None:
    """Return whether two values are equal; None if they do not say."""
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001 - a team's __eq__ may raise anything, and decimals do
        return None


def _reason(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"JSON has no {value!r}; publish None or a text"
    if isinstance(value, int) and not _LEAST <= value <= _MOST:
        return f"Integer exceeds 64-bit range: {shown(value)}; publish a text"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            return (
                f"{shown(value)} has a lone surrogate at character {error.start}, which UTF-8 does not have"
            )
    return None
