"""Pydantic models and dataclasses as events: read and written by their own validator and serializer.

It does not import pydantic: the classes of a team bring it.
"""

from collections.abc import Callable
from typing import Any

from nsqkit.events.codec.read import Place, Read
from nsqkit.events.shape import Shape


class PydanticKind:
    """Classes with a validator of pydantic, which applies the rules that they declare."""

    is_msgspecs = False

    def takes(self, model: Any) -> bool:
        """Return whether pydantic made a class."""
        return hasattr(model, "__pydantic_validator__")

    def reader(self, model: Any, shape: Shape) -> Read:  # noqa: ARG002 - pydantic has its own ways
        """Return a function from JSON to an instance."""
        validate = model.__pydantic_validator__.validate_json
        return lambda raw: validate(bytes(raw))

    def converter(self, model: Any, shape: Shape) -> Callable[[Any], Any]:  # noqa: ARG002 - same
        """Return a function from plain values to an instance."""
        return model.__pydantic_validator__.validate_python  # type: ignore[no-any-return]

    def writer(self, model: Any, shape: Shape) -> Callable[[Any], Any]:  # noqa: ARG002 - same
        """Return a function from an instance to plain values, under the names that the reader takes."""
        dump = model.__pydantic_serializer__.to_python
        by_alias = _config(model).get("validate_by_alias") is not False
        return lambda event: dump(event, mode="json", by_alias=by_alias)

    def explain(self, error: Any) -> Place | None:
        """Return the path and reason of a validation error; None for any other error."""
        if not self.is_syntax(error):
            return None
        first = error.errors(include_url=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            return None
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        return f"${path}", first["msg"]

    def is_syntax(self, error: BaseException) -> bool:
        """Return whether an error is of pydantic's validator, which also reads the JSON."""
        kind = type(error)
        return kind.__module__.startswith("pydantic_core") and kind.__name__ == "ValidationError"


def _config(model: Any) -> dict[str, Any]:
    return getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None) or {}
