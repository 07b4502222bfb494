"""Models: the kinds of class that can be an event, with a reader and error explanations for each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

Read = Callable[[bytes | msgspec.Raw], Any]
Place = tuple[str, str]
"""JSON path of an invalid value, from ``$``, and the reason."""

_PATH = re.compile(r"^(?P<reason>.*) - at `(?P<path>[^`]*)`$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ModelKind:
    """One kind of event class.

    Args:
        takes: Returns whether a class is of this kind.
        reader: Returns a function that reads JSON into a class of this kind.
        explain: Returns the path and reason for an error of such a reader; None for other errors.
        is_msgspecs: Whether msgspec can decode this kind together with the envelope, in one pass.
    """

    takes: Callable[[type[Any]], bool]
    reader: Callable[[type[Any]], Read]
    explain: Callable[[BaseException], Place | None]
    is_msgspecs: bool


def kind_of(model: type[Any]) -> ModelKind:
    """Return the kind of a class; msgspec's kind if no other one takes it."""
    return next(kind for kind in KINDS if kind.takes(model))


def explain(error: BaseException) -> Place | None:
    """Return the path and reason of a reader's error; None if no kind knows the error."""
    return next((found for kind in KINDS if (found := kind.explain(error))), None)


def is_syntax(error: BaseException) -> bool:
    """Return whether a reader's error says that the bytes are not JSON."""
    return isinstance(error, msgspec.DecodeError | UnicodeDecodeError) or _is_pydantic_error(error)


def to_plain(value: object) -> object:
    """Convert a value that orjson cannot write into one that it can.

    Raises:
        TypeError: If the value cannot be converted.
    """
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    return msgspec.to_builtins(value)


def _is_pydantic(model: type[Any]) -> bool:
    return hasattr(model, "model_validate_json")


def _pydantic_reader(model: Any) -> Read:
    return lambda raw: model.model_validate_json(bytes(raw))  # its own validator is the fastest


def _is_pydantic_error(error: BaseException) -> bool:
    return type(error).__module__.startswith("pydantic_core")  # its ValidationError, without importing it


def _explain_pydantic(error: Any) -> Place | None:
    if not _is_pydantic_error(error):
        return None
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return None
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    return f"${path}", first["msg"]


def _msgspec_reader(model: type[Any]) -> Read:
    return msgspec.json.Decoder(model).decode


def _explain_msgspec(error: BaseException) -> Place | None:
    if not isinstance(error, msgspec.ValidationError):
        return None
    match = _PATH.match(str(error))
    return (match["path"], match["reason"]) if match else ("$", str(error))


KINDS = (
    ModelKind(_is_pydantic, _pydantic_reader, _explain_pydantic, is_msgspecs=False),
    ModelKind(lambda _: True, _msgspec_reader, _explain_msgspec, is_msgspecs=True),
)
"""The first kind that takes a class reads it: pydantic models, then dataclasses and Structs."""
