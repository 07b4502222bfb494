"""Shape: how the JSON of an event differs from its class in names and values; it reads and writes nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, cast

Rename = Literal["camel", "pascal"] | Mapping[str, str]
"""How fields are named in JSON: ``orderId``, ``OrderId``, or by a mapping from field to name."""
Hooks = Mapping[type[Any], Callable[[Any], Any]]
"""Functions by field type: from the JSON value to the field's value, or back."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How an event's JSON differs from its class.

    Args:
        rename: Names of the fields in JSON; None if they are the same.
        strict: False also takes numbers and booleans in texts, and seconds since 1970 as times.
        decode: Functions from a JSON value to a field's value, by the type of the field.
        encode: Functions from a field's value to a JSON value, by the type of the field.
    """

    rename: Rename | None = field(default=None, hash=False)
    strict: bool = True
    decode: Hooks = field(default_factory=dict, hash=False)
    encode: Hooks = field(default_factory=dict, hash=False)

    @property
    def is_plain(self) -> bool:
        """Whether the JSON has the fields of the class as they are."""
        return self == PLAIN

    def name_of(self, field_name: str) -> str:
        """Return the name of a field in JSON."""
        if isinstance(self.rename, Mapping):
            return self.rename.get(field_name, field_name)
        first, *more = field_name.split("_") if self.rename else (field_name,)
        start = first.capitalize() if self.rename == "pascal" else first
        return start + "".join(word.capitalize() for word in more)


PLAIN = Shape()


def shape_problem(shape: Shape, model: type[Any]) -> str | None:
    """Return what is wrong with a shape for a class, and what to change; None if nothing is.

    Args:
        shape: The shape; its values may be of any type.
        model: The event class.
    """
    return next(chain(_unfit_kind(shape, model), _unfit_values(shape)), None)


def _unfit_kind(shape: Shape, model: type[Any]) -> Iterator[str]:
    name = model.__name__
    if hasattr(model, "__pydantic_fields__"):
        if shape.rename is not None:
            yield (
                "rename= is not for pydantic models, which rename by themselves: "
                "model_config = ConfigDict(alias_generator=to_camel), or Field(alias=…)"
            )
        if not shape.strict:
            yield "strict=False is not for pydantic models, which are lax unless their model_config is strict"
        if shape.decode or shape.encode:
            yield (
                "decode= and encode= are not for pydantic models: "
                "write a @field_validator and a @field_serializer"
            )
    if hasattr(model, "__struct_fields__") and shape.rename is not None:
        yield f'rename= is not for a Struct, which renames by itself: class {name}(Struct, rename="camel")'
    if hasattr(model, "__total__") and shape.rename is not None:
        yield f'rename= is not for a TypedDict, whose keys are its names: {name} = TypedDict("{name}", {{…}})'


def _unfit_values(shape: Shape) -> Iterator[str]:
    rename, strict = cast("object", shape.rename), cast("object", shape.strict)
    if isinstance(rename, Mapping):
        if not all(isinstance(text, str) for pair in rename.items() for text in pair):
            yield f"rename={rename!r} must map names of fields to names in JSON"
    elif rename not in (None, "camel", "pascal"):
        yield f'rename={rename!r} is not "camel", "pascal" or a mapping from field to name'
    if type(strict) is not bool:
        yield f"strict={strict!r} is not True or False"
    for name in ("decode", "encode"):
        hooks: object = getattr(shape, name)
        if not isinstance(hooks, Mapping):
            yield f"{name}={hooks!r} is not a mapping; write {name}={{datetime: from_epoch_ms}}"
            continue
        for kind, function in hooks.items():
            if not (isinstance(kind, type) and callable(function)):
                yield f"{name} has {kind!r}: {function!r}; it must map types of fields to functions"
