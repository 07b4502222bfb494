"""The decoder: reads bodies into typed events, and reports where and why a body is invalid."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

import msgspec

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.bare import NotTakenError, chooser
from nsqkit.events.codec.binary import WholeBody
from nsqkit.events.codec.codecs import JsonCodec, reader_of
from nsqkit.events.codec.compressed import GzipCodec
from nsqkit.events.codec.envelope import MARK, Parts, batch_size, read_envelope, read_parts
from nsqkit.events.codec.faults import FaultError, fault
from nsqkit.events.codec.models import explain, is_syntax, kind_of
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.codec.read import Read
from nsqkit.events.codec.upcasting import upcasting
from nsqkit.events.types import REGISTRY, EventRegistry, EventType, Select

_BATCH = (
    "a batch of {} CloudEvents; nsqkit takes one event per message: let the producer publish them one by one"
)
DEFAULT_MSG_BYTES = 1_048_576
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


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

    specversion: Literal["1.0"]
    datacontenttype: Literal["application/json"] | None = None
    data_base64: None = None


class Decoder:
    """Decodes the bodies of one handler's topic into its event types.

    Args:
        topic: Topic name, for errors.
        event_types: Event types that the handler handles; one or more.
        registry: Registry with the upcasters of these types, and the other types of the topic.
        select: Chooses the event class of a body without an envelope; None to go by marks in the body.
        codec: Format of the data, instead of the codecs of the types; None for those.
        max_msg_bytes: nsqd's limit for messages, bytes; it bounds decompression.
    """

    def __init__(
        self,
        topic: str,
        event_types: tuple[EventType, ...],
        registry: EventRegistry = REGISTRY,
        *,
        select: Select | None = None,
        codec: Codec | None = None,
        max_msg_bytes: int = DEFAULT_MSG_BYTES,
    ) -> None:
        self._topic = topic
        self._types = event_types
        self._registry = registry
        codecs = [_bounded(codec or known.codec, max_msg_bytes) for known in event_types]
        pairs = tuple(zip(event_types, codecs, strict=True))
        self._decoders = {known.wire_type: reader_of(known, each) for known, each in pairs}
        self._codec = codecs[0]  # of bare bodies
        names = {known.name for known in event_types}
        others = [known for known in registry.on_topic(topic) if known.name not in names]
        self._choose = chooser(event_types, others, select, getattr(self._codec, "parse", None))
        self._at_once = [
            (b'"%s"' % known.wire_type.encode(), known.wire_type, _at_once(known.model))
            for known, each in pairs
            if each is None and known.shape.is_plain and kind_of(known.model).is_msgspecs
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
                if found.wire_type == wire_type:
                    return found
        return self._decode_in_steps(body)

    def _decode_in_steps(self, body: bytes) -> Decoded:
        """Decode the envelope first, then the data by its type: this handles every valid form of a body."""
        if isinstance(self._codec, WholeBody):
            return self._whole(body)
        if isinstance(self._codec, GzipCodec):
            body = self._unpacked(self._codec, body)
        if MARK not in body:
            return self._bare(body)
        try:
            parts = read_parts(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if (n_events := batch_size(body)) > 0:
                raise self._invalid("", FaultError("$", _BATCH.format(n_events))) from None
            if self._codec is not None:
                return self._bare(body)
            raise self._error("", "$", error, body) from None
        if not parts.is_envelope:
            return self._bare(body)
        try:
            return self._enveloped(parts, body)
        except FaultError as error:
            raise _from_envelope(self._invalid("", error), parts) from None
        except (DecodeError, UnknownEventError) as error:
            _from_envelope(error, parts)
            raise

    def _enveloped(self, parts: Parts, body: bytes) -> Decoded:
        parts.check()
        wire_type = parts.text("type")
        decode = self._decoders.get(wire_type)
        if decode is None:
            wire_type, decode = self._lifted(wire_type)
        try:
            payload, name = parts.payload()
        except FaultError as error:
            raise self._invalid(wire_type, error) from None
        whole = body if name == "data" else bytes(payload)
        return Decoded(
            self._read(wire_type, decode, payload, f"$.{name}", whole),
            wire_type,
            parts.text("id"),
            parts.text("source"),
            _text_or_none(parts.traceparent),
            _text_or_none(parts.tracestate),
            _text_or_none(parts.correlationid),
        )

    def _bare(self, body: bytes) -> Decoded:
        wire_type = self._types[0].wire_type
        if self._choose is not None:
            wire_type = self._chosen(self._choose, body)
        return Decoded(self._read(wire_type, self._decoders[wire_type], body, "$", body), wire_type)

    def _whole(self, body: bytes) -> Decoded:
        """Return an event that is a whole body, with its envelope's attributes for log and trace."""
        known = self._types[0]
        event = self._read(known.wire_type, self._decoders[known.wire_type], body, "$", body)
        envelope = read_envelope(body)
        if envelope is None:
            return Decoded(event, known.wire_type)
        extensions = envelope.extensions
        return Decoded(
            event,
            envelope.type,
            envelope.id,
            envelope.source,
            _text_or_none(extensions.get("traceparent")),
            _text_or_none(extensions.get("tracestate")),
            _text_or_none(extensions.get("correlationid")),
        )

    def _chosen(self, choose: Callable[[bytes], str], body: bytes) -> str:
        try:
            return choose(body)
        except FaultError as error:
            raise self._invalid("", error) from None
        except NotTakenError as error:
            raise UnknownEventError(self._topic, error.event_type) from None
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a team's select may raise anything
            raise self._error("", "$", error, body) from None

    def _unpacked(self, codec: GzipCodec, body: bytes) -> bytes:
        try:
            return codec.unpacked(body)
        except FaultError as error:
            raise self._invalid("", error) from None

    def _lifted(self, wire_type: str) -> tuple[str, Read]:
        name, _, version = wire_type.rpartition(".v")
        number = int(version) if _VERSION.fullmatch(version) else 0
        for known in self._types:
            steps = self._registry.upcasters(known, number) if known.name == name else ()
            if steps:
                return wire_type, upcasting(self._decoders[known.wire_type], steps)
        raise UnknownEventError(self._topic, wire_type)

    def _read(self, wire_type: str, decode: Read, raw: bytes | msgspec.Raw, root: str, whole: bytes) -> Any:
        try:
            return decode(raw)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a team's class or upcaster may raise anything
            raise self._error(wire_type, root, error, whole, max(0, whole.find(bytes(raw)))) from None

    def _invalid(self, wire_type: str, error: FaultError) -> DecodeError:
        return DecodeError(self._topic, wire_type, error.path, error.reason)

    def _error(
        self, wire_type: str, root: str, error: BaseException, whole: bytes, offset: int = 0
    ) -> DecodeError:
        path, reason = _explain(error, whole, offset)
        return DecodeError(self._topic, wire_type, root + path.removeprefix("$"), reason)


def _bounded(codec: Codec | None, max_msg_bytes: int) -> Codec | None:
    if isinstance(codec, GzipCodec):
        return codec.bounded(max_msg_bytes)
    return None if isinstance(codec, JsonCodec) else codec


def _from_envelope(error: DecodeError | UnknownEventError, parts: Parts) -> DecodeError | UnknownEventError:
    error.event_id = parts.id if isinstance(parts.id, str) else None
    return error


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


def _explain(error: BaseException, whole: bytes, offset: int) -> tuple[str, str]:
    """Return the JSON path (from ``$``) and the reason of a decoding error."""
    if isinstance(error, RecursionError):
        return "$", "nested too deeply"
    if isinstance(error, FaultError):
        return error.path, error.reason
    if (place := explain(error)) is not None:
        return place
    if is_syntax(error):
        return "$", f"not JSON: {fault(whole, str(error), offset)}"
    return "$", f"{type(error).__name__}: {error}"
