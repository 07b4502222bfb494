"""Soundness: whether an event class means what its annotations say; asked once, before messages come."""

import dataclasses
import inspect
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from nsqkit.events.codec.binary import MsgpackCodec
from nsqkit.events.codec.codecs import JsonCodec, reader_of
from nsqkit.events.codec.compressed import GzipCodec
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.codec.values import field_names
from nsqkit.events.types import EventType
from nsqkit.events.unreadable import unreadable

_LIMITS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")


def problems_of(known: EventType, codec: Codec | None) -> list[str]:
    """Return why bodies cannot be decoded into an event, or not by its rules; one line each.

    Args:
        known: The event type.
        codec: Codec of the handler, or of the event; None for JSON.
    """
    try:
        _rebuild(known.model)
        reader_of(known, codec)
        found = list(_Fields(known).problems()) if _has_fields(codec) else []
    except NameError as error:
        return [unreadable(error, known.model.__module__)]
    except Exception as error:  # noqa: BLE001 - annotations are any code of a team
        return [f"it cannot be decoded: {str(error).splitlines()[0]}"]
    return list(dict.fromkeys(found))


def _has_fields(codec: Codec | None) -> bool:
    inner = codec.codec if isinstance(codec, GzipCodec) else codec
    return inner is None or isinstance(inner, JsonCodec | MsgpackCodec)


class _Fields:
    """Walks through the fields of an event class and of the classes in it."""

    def __init__(self, known: EventType) -> None:
        self._known = known
        self._by_pydantic = _is_pydantic(known.model)  # which then reads the classes inside, too
        self._seen: set[Any] = set()

    def problems(self) -> Iterator[str]:
        yield from self._model(self._known.model, "")

    def _model(self, model: Any, path: str) -> Iterator[str]:
        if model in self._seen:
            return
        self._seen.add(model)
        plain = get_origin(model) or model
        _rebuild(plain)
        for name, kind in _hints(plain).items():
            if name in (field_names(plain) or (name,)):
                yield from self._annotation(kind, f"{path}.{name}".lstrip("."), plain)
        if not self._by_pydantic and dataclasses.is_dataclass(plain):
            for each in dataclasses.fields(plain):
                if _module(each.default).startswith("pydantic"):
                    yield self._unenforced(f"{path}.{each.name}".lstrip("."), plain, each.default)

    def _annotation(self, kind: Any, path: str, owner: Any) -> Iterator[str]:
        while hasattr(kind, "__supertype__") or type(kind).__name__ == "TypeAliasType":
            kind = kind.__supertype__ if hasattr(kind, "__supertype__") else kind.__value__
        origin = get_origin(kind)
        if origin is Annotated:
            inner, *metadata = get_args(kind)
            yield from (self._unenforced(path, owner, each) for each in metadata if self._is_foreign(each))
            yield from self._annotation(inner, path, owner)
        elif _is_model(origin or kind):
            if _is_pydantic(origin or kind) and not self._by_pydantic:
                yield _undecodable(path, kind, f"make {owner.__name__} a pydantic model too")
            else:
                yield from self._model(kind, path)
        elif origin is not None and origin is not Literal:
            for each in get_args(kind):
                yield from self._annotation(each, path, owner)
        elif inspect.isclass(kind) and self._is_undecodable(kind):
            remedy = f"make it a dataclass, or give @event decode={{{kind.__name__}: …}}"
            yield _undecodable(path, kind, remedy)

    def _is_undecodable(self, kind: type[Any]) -> bool:
        if self._by_pydantic or kind in self._known.shape.decode:
            return False
        return isinstance(msgspec.inspect.type_info(kind), msgspec.inspect.CustomType)

    def _is_foreign(self, metadata: Any) -> bool:
        """Return whether an annotation's metadata is a rule that the reader does not enforce."""
        if isinstance(metadata, msgspec.Meta):
            return self._by_pydantic and any(getattr(metadata, limit) is not None for limit in _LIMITS)
        module, name = _module(metadata), type(metadata).__name__
        if self._by_pydantic or name == "DocInfo":
            return False
        if name == "FieldInfo" and module.startswith("pydantic"):
            return bool(metadata.metadata) or metadata.alias is not None
        return module.startswith(("annotated_types", "pydantic"))

    def _unenforced(self, path: str, owner: Any, rule: Any) -> str:
        remedy = "pydantic.Field(…)"
        if not self._by_pydantic:
            remedy = "msgspec.Meta(…), or make it a pydantic dataclass or model"
        return f"field {path}: {owner.__name__} does not enforce {rule!r}; write {remedy}"


def _rebuild(model: Any) -> None:
    """Let pydantic read the annotations again that named classes defined below the model."""
    if not getattr(model, "__pydantic_complete__", True) and hasattr(model, "model_rebuild"):
        model.model_rebuild()


def _hints(model: Any) -> dict[str, Any]:
    if not _is_pydantic(model):
        return typing.get_type_hints(model, include_extras=True)
    fields = model.__pydantic_fields__.items()
    return {name: Annotated[(each.annotation, *each.metadata, "")] for name, each in fields}


def _is_model(kind: Any) -> bool:
    return field_names(kind) is not None or (inspect.isclass(kind) and hasattr(kind, "__total__"))


def _is_pydantic(model: Any) -> bool:
    return hasattr(get_origin(model) or model, "__pydantic_fields__")


def _module(value: Any) -> str:
    kind = value if inspect.isclass(value) else type(value)
    return kind.__module__


def _undecodable(path: str, kind: Any, remedy: str) -> str:
    return f"field {path}: nothing can decode {getattr(kind, '__name__', kind)}; {remedy}"
