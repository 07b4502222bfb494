"""Read-back: an event is only published if a reader gets it as it is; else the error names the field."""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from nsqkit.errors import EncodeError
from nsqkit.events.codec.codecs import JsonCodec, reader_of, shaped
from nsqkit.events.codec.defaults import completer
from nsqkit.events.codec.faults import FaultError
from nsqkit.events.codec.formats import encode_json
from nsqkit.events.codec.models import explain, kind_of
from nsqkit.events.codec.values import Difference, children, culprit, difference, field_names, shown
from nsqkit.events.types import EventType

_write_struct = msgspec.json.Encoder().encode  # orjson would first have each Struct made a dict
_KEY = re.compile(r"^\['([^']*)'\]")
"""The field of a TypedDict, as the key of a mapping."""


class Writer:
    """Writes the data of the events of one type, and reads each of them back.

    Args:
        known: The event type.

    Attributes:
        is_generic: Whether the class has type variables, which its readers replace by types.
    """

    def __init__(self, known: EventType) -> None:
        codec = known.codec
        self.is_generic = (
            bool(getattr(known.model, "__parameters__", ())) and kind_of(known.model).is_msgspecs
        )
        self._name = known.wire_type
        self._is_json = codec is None or isinstance(codec, JsonCodec)
        write = _json_writer(known) if codec is None else shaped(codec, known.shape).encode
        complete = completer(known.model)
        self._write = write if complete is None else lambda event: write(complete(event))
        self._read = reader_of(known, codec)

    def data(self, event: Any, max_bytes: float) -> bytes:
        """Return the data of an event.

        Args:
            event: The event.
            max_bytes: Longer data is not read back.

        Raises:
            EncodeError: If it cannot be written, or a reader would get another event or none.
        """
        try:
            data = self._write(event)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:
            raise self._unwritten(event, error) from error
        if len(data) > max_bytes:
            return data
        try:
            found = self._read(data)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:
            path, reason = _explained(error)
            raise self._error(event, path, f"a reader would not get it: {reason}") from error
        try:
            is_same = bool(found == event)
        except Exception:  # noqa: BLE001 - a team's __eq__ may raise anything
            is_same = False
        if not is_same and (differs := self._difference(event, found, data)) is not None:
            path, sent, read = differs
            raise self._error(event, path, f"a reader would get {shown(read)} for {shown(sent)}")
        return data

    def _difference(self, event: Any, found: Any, data: bytes) -> Difference | None:
        is_opaque = field_names(type(event)) is None and not isinstance(event, dict)
        if is_opaque and self._write(found) == data:
            return None  # to a class of protoc, no NaN is equal to a NaN
        return difference(event, found)

    def _unwritten(self, event: Any, error: BaseException) -> EncodeError:
        place = culprit(event) or _unwritable(event)
        return self._error(event, *(place or ("", f"cannot be written: {type(error).__name__}: {error}")))

    def _error(self, event: Any, path: str, reason: str) -> EncodeError:
        path, reason = (self._is_json and culprit(event)) or (path, reason)
        field = _KEY.sub(r"\1", path).lstrip(".")
        where = f"field {field}" if field else "event"
        return EncodeError(f"{self._name}: {where}: {reason}")


def _json_writer(known: EventType) -> Callable[[Any], bytes]:
    plain = kind_of(known.model).writer(known.model, known.shape)
    if not (hasattr(known.model, "__struct_fields__") and known.shape.is_plain):
        return lambda event: encode_json(plain(event))

    def write(event: Any) -> bytes:
        try:
            return _write_struct(event)
        except Exception:  # noqa: BLE001 - orjson writes more kinds of keys, and its error is reported
            return encode_json(plain(event))

    return write


def _explained(error: BaseException) -> tuple[str, str]:
    if isinstance(error, FaultError):
        return error.path.removeprefix("$"), error.reason
    path, reason = explain(error) or ("$", f"{type(error).__name__}: {error}")
    return path.removeprefix("$"), reason


def _unwritable(value: Any, path: str = "") -> tuple[str, str] | None:
    """Return the innermost place that cannot be written by itself, and the reason."""
    dump = getattr(getattr(type(value), "__pydantic_serializer__", None), "to_python", None)
    for place, inner in children(value):
        if (found := _unwritable(inner, f"{path}{place}")) is not None:
            return found
        if dump is not None and (reason := _undumped(dump, value, place.lstrip("."))):
            return f"{path}{place}", reason
    try:
        encode_json(value)
    except (EncodeError, RecursionError, ValueError, TypeError) as error:
        return path, f"{shown(value)} {str(error).partition(' ')[2]}"
    return None


def _undumped(dump: Callable[..., Any], value: Any, name: str) -> str | None:
    """Return why pydantic cannot write one field of a model, and what to change."""
    try:
        dump(value, mode="json", include={name})
    except UnicodeDecodeError as error:
        remedy = 'set ser_json_bytes="base64" and val_json_bytes="base64" in its model_config'
        return f"pydantic writes bytes as UTF-8, which these are not ({error.reason}); {remedy}"
    except Exception as error:  # noqa: BLE001 - a team's serializer may raise anything
        return f"cannot be written: {type(error).__name__}: {error}"
    return None
