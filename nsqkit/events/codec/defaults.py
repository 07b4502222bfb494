"""Defaults: gives decoded dataclasses the fields that their constructor would have set; it writes nothing.

msgspec does not set a field that has a plain default and is not in the JSON: the default is an attribute of
the class. Writers of dataclasses look at the attributes of the instance, so they would leave the field out.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, get_args, get_origin

from nsqkit.events.codec.values import field_names

_CONTAINERS = (list, tuple, set, frozenset)


def completer(model: Any) -> Callable[[Any], Any] | None:
    """Return a function that completes an event and the values in it, and returns the event.

    Args:
        model: The event class, with its arguments if it is generic.

    Returns:
        None if no value in such an event can lack a field: its events then cost nothing.
    """
    if hasattr(model, "__pydantic_fields__"):
        return None  # pydantic writes the defaults of a class
    fields = _classes_of_fields(model)
    defaults = {kind: found for kind in fields if (found := _defaults(kind))}
    leading = _leading_to(set(defaults), fields)
    if leading.isdisjoint(_classes(model)):
        return None
    return _Completer(defaults, {kind: _names(fields[kind], leading) for kind in fields if kind in leading})


class _Completer:
    """Completes values by their class.

    Args:
        defaults: Defaults by field, for each class whose instances may lack fields.
        inner: For each class that leads to such a one, the names of the fields that do.
    """

    def __init__(
        self, defaults: Mapping[Any, Mapping[str, Any]], inner: Mapping[Any, tuple[str, ...]]
    ) -> None:
        self._defaults = defaults
        self._inner = inner
        self._steps: dict[type[Any], Callable[[Any], None] | None] = {}

    def __call__(self, value: Any) -> Any:
        kind = type(value)
        try:
            step = self._steps[kind]
        except KeyError:
            step = self._steps[kind] = self._step(kind)
        if step is not None:
            step(value)
        return value

    def _step(self, kind: type[Any]) -> Callable[[Any], None] | None:
        if kind in self._inner:
            return self._model_step(self._defaults.get(kind, {}), self._inner[kind])
        if issubclass(kind, dict):
            return lambda value: self._all(value.values())
        return self._all if issubclass(kind, _CONTAINERS) else None

    def _model_step(self, defaults: Mapping[str, Any], names: Iterable[str]) -> Callable[[Any], None]:
        missing, inner = tuple(defaults.items()), tuple(names)

        def complete(value: Any) -> None:
            if missing:
                fields = value.__dict__
                for name, default in missing:
                    if name not in fields:
                        fields[name] = default
            for name in inner:
                self(getattr(value, name, None))

        return complete

    def _all(self, values: Iterable[Any]) -> None:
        for each in values:
            self(each)


def _defaults(kind: Any) -> dict[str, Any]:
    """Return the defaults that msgspec leaves to the class."""
    if not dataclasses.is_dataclass(kind):
        return {}
    # A slot, and a descriptor as a default, are no entries of an instance's __dict__.
    return {
        each.name: each.default
        for each in dataclasses.fields(kind)
        if each.init
        and each.default is not dataclasses.MISSING
        and inspect.getattr_static(kind, each.name, None) is each.default
        and not hasattr(each.default, "__get__")
    }


def _classes_of_fields(model: Any) -> dict[Any, dict[str, set[Any]]]:
    """Return the classes in the annotation of each field, for a class and all classes that it leads to."""
    found: dict[Any, dict[str, set[Any]]] = {}
    left = set(_classes(model))
    while left:
        kind = left.pop()
        found[kind] = {name: set(_classes(hint)) for name, hint in _hints(kind).items()}
        left |= set[Any]().union(*found[kind].values()) - found.keys()
    return found


def _leading_to(kinds: set[Any], fields: Mapping[Any, Mapping[str, set[Any]]]) -> set[Any]:
    """Return some classes, and those with fields that lead to one; a type variable may be any of them."""
    if not kinds:
        return set()
    leading = kinds | {each for each in fields if isinstance(each, TypeVar)}
    while more := {kind for kind in fields.keys() - leading if _names(fields[kind], leading)}:
        leading |= more
    return leading


def _names(fields: Mapping[str, set[Any]], leading: set[Any]) -> tuple[str, ...]:
    return tuple(name for name, classes in fields.items() if not leading.isdisjoint(classes))


def _classes(kind: Any) -> Iterator[Any]:
    """Yield the classes and type variables in an annotation."""
    while hasattr(kind, "__supertype__") or type(kind).__name__ == "TypeAliasType":
        kind = kind.__supertype__ if hasattr(kind, "__supertype__") else kind.__value__
    plain = get_origin(kind) or kind
    if inspect.isclass(plain) or isinstance(plain, TypeVar):
        yield plain
    for each in get_args(kind):
        yield from _classes(each)


def _hints(kind: Any) -> dict[str, Any]:
    is_model = field_names(kind) is not None or hasattr(kind, "__total__") or hasattr(kind, "_fields")
    if not is_model or hasattr(kind, "__pydantic_fields__"):
        return {}
    try:
        return typing.get_type_hints(kind)
    except Exception:  # noqa: BLE001 - annotations are any code of a team, and a codec may need none
        return {}
