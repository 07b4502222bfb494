"""The decoder: reads bodies into typed events, and reports where and why a body is invalid."""

import re
from collections.abc import Callable
from typing import Annotated, Any, cast

import msgspec
import orjson

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.envelope import MARK
from nsqkit.events.codec.models import Read, explain, kind_of
from nsqkit.events.types import REGISTRY, EventRegistry, EventType

_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class _Envelope(msgspec.Struct):
    """The attributes that the decoder reads; none is required, because a bare body may contain anything."""

    specversion: Any = None
    type: Any = None
    source: Any = None
    id: Any = None
    traceparent: Any = None
    tracestate: Any = None
    correlationid: Any = None
    data: msgspec.Raw = msgspec.Raw()


_read_envelope = msgspec.json.Decoder(_Envelope).decode


class Decoded(msgspec.Struct, frozen=True):
    """One decoded event with the attributes of its envelope.

    Args:
        event: An instance of one of the handler's event classes.
        wire_type: Event type with its version, such as ``order.created.v1``.
        event_id: The envelope's ``id``; None for a bare event.
        source: The envelope's ``source``; None for a bare event.
        traceparent: W3C trace context of the publisher; None without one.
        tracestate: Vendor-specific part of the trace context; None without one.
        correlationid: Id that all events of one flow share; None without one.
    """

    event: Any = msgspec.field(name="data")
    wire_type: str = msgspec.field(name="type")
    event_id: str | None = msgspec.field(name="id", default=None)
    source: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    correlationid: str | None = None


class _Whole(Decoded, frozen=True, kw_only=True):
    """An event and its envelope, decoded in one pass."""

    specversion: Any = None


class Decoder:
    """Decodes the bodies of one handler's topic into its event types.

    Args:
        topic: Topic name, for errors.
        event_types: Event types that the handler handles; one or more.
        registry: Registry with the upcasters of these types.
    """

    def __init__(
        self, topic: str, event_types: tuple[EventType, ...], registry: EventRegistry = REGISTRY
    ) -> None:
        self._topic = topic
        self._types = event_types
        self._registry = registry
        self._decoders = {known.wire_type: kind_of(known.model).reader(known.model) for known in event_types}
        self._at_once = [
            (b'"%s"' % known.wire_type.encode(), known.wire_type, _at_once(known.model))
            for known in event_types
            if kind_of(known.model).is_msgspecs
        ]

    def decode(self, body: bytes) -> Decoded:
        """Return the event in a body.

        Raises:
            DecodeError: If the body is not JSON or not an event, or does not match the schema of its type.
            UnknownEventError: If the handler does not handle the event's type or version.
        """
        for mark, wire_type, read in self._at_once:
            if mark in body:
                try:
                    found = read(body)
                except KeyboardInterrupt:
                    raise
                except BaseException:  # noqa: BLE001 - decoding in steps finds the reason
                    break
                if found.wire_type == wire_type and found.specversion is not None:
                    return found
        return self._decode_in_steps(body)

    def _decode_in_steps(self, body: bytes) -> Decoded:
        """Decode the envelope first, then the data by its type: this handles every valid form of a body."""
        if MARK not in body:
            return self._bare(body)
        envelope = self._envelope(body)
        if envelope.specversion is None:
            return self._bare(body)
        try:
            return self._enveloped(envelope)
        except (DecodeError, UnknownEventError) as error:
            error.event_id = envelope.id if isinstance(envelope.id, str) else None
            raise

    def _enveloped(self, envelope: _Envelope) -> Decoded:
        wire_type = self._text(envelope, "type")
        decode = self._decoders.get(wire_type)
        if decode is None:
            wire_type, decode = self._lifted(wire_type)
        if not envelope.data:
            raise DecodeError(self._topic, wire_type, "$.data", "the envelope has no data")
        return Decoded(
            self._read(wire_type, decode, envelope.data, "$.data"),
            wire_type,
            self._text(envelope, "id"),
            self._text(envelope, "source"),
            _text_or_none(envelope.traceparent),
            _text_or_none(envelope.tracestate),
            _text_or_none(envelope.correlationid),
        )

    def _envelope(self, body: bytes) -> _Envelope:
        try:
            return _read_envelope(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._error("", "$", error) from None

    def _text(self, envelope: _Envelope, field: str) -> str:
        value = getattr(envelope, field)
        if not isinstance(value, str) or not value:
            found = "" if value is None else f", not {value!r:.60}"
            raise DecodeError(self._topic, "", f"$.{field}", f"must be a non-empty string{found}")
        return value

    def _bare(self, body: bytes) -> Decoded:
        if len(self._types) > 1:
            names = ", ".join(known.wire_type for known in self._types)
            reason = f"no CloudEvents envelope, and the handler takes several event types ({names})"
            raise DecodeError(self._topic, "", "$", reason)
        wire_type = self._types[0].wire_type
        return Decoded(self._read(wire_type, self._decoders[wire_type], body, "$"), wire_type)

    def _lifted(self, wire_type: str) -> tuple[str, Read]:
        name, _, version = wire_type.rpartition(".v")
        number = int(version) if _VERSION.fullmatch(version) else 0
        for known in self._types:
            steps = self._registry.upcasters(known, number) if known.name == name else ()
            if steps:
                return wire_type, _upcasting(self._decoders[known.wire_type], steps)
        raise UnknownEventError(self._topic, wire_type)

    def _read(self, wire_type: str, decode: Read, raw: bytes | msgspec.Raw, root: str) -> Any:
        try:
            return decode(raw)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a team's class or upcaster may raise anything
            raise self._error(wire_type, root, error) from None

    def _error(self, wire_type: str, root: str, error: BaseException) -> DecodeError:
        path, reason = _explain(error)
        return DecodeError(self._topic, wire_type, root + path.removeprefix("$"), reason)


def _at_once(model: type[Any]) -> Callable[[bytes], _Whole]:
    """Return a decoder for the usual envelope with its event in one pass; it raises for any other body."""
    text = Annotated[str, msgspec.Meta(min_length=1)]
    fields = (
        ("event", model, msgspec.field(name="data")),
        ("event_id", text, msgspec.field(name="id")),
        ("source", text),
    )
    whole = msgspec.defstruct("Whole", fields, bases=(_Whole,), frozen=True, kw_only=True)
    return msgspec.json.Decoder(cast("type[_Whole]", whole)).decode


def _text_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _upcasting(decode: Read, steps: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...]) -> Read:
    def lift(raw: bytes | msgspec.Raw) -> Any:
        data = orjson.loads(bytes(raw))
        for step in steps:
            data = step(data)
        return decode(orjson.dumps(data))

    return lift


def _explain(error: BaseException) -> tuple[str, str]:
    """Return the JSON path (from ``$``) and the reason of a decoding error."""
    if isinstance(error, RecursionError):
        return "$", "nested too deeply"
    if (place := explain(error)) is not None:
        return place
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError | orjson.JSONDecodeError):
        return "$", f"not JSON: {error}"
    return "$", f"{type(error).__name__}: {error}"
