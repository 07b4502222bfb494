"""Readers: bodies that are not JSON, read by the codecs of their topic for people to see and edit."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

from nsqkit.errors import DecodeError, EncodeError, HandlerError, UnknownEventError
from nsqkit.events.body import Body, decompressed
from nsqkit.events.codec.binary import BytesCodec
from nsqkit.events.codec.codecs import json_reader, shaped
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.plain import plain
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.types import REGISTRY, EventType
from nsqkit.handler.spec import HandlerSpec
from nsqkit.loading.loader import load
from nsqkit.settings.settings import Settings

Types = tuple[EventType, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A body as a person edits it.

    Args:
        text: The body as JSON.
        packed: Returns the body for an edited text; raises ``EncodeError`` if it is no event any more.
    """

    text: bytes
    packed: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class _Found:
    event: Any
    known: EventType
    codec: Codec


class Readers:
    """The codecs of the handlers in the setting ``modules``, which are loaded when a body first needs them.

    Args:
        settings: Names the modules.
        on_problem: Called with each line of why the modules cannot be loaded; they are then not used.
    """

    def __init__(self, settings: Settings, on_problem: Callable[[str], object]) -> None:
        self._settings = settings
        self._on_problem = on_problem

    def body(self, raw: bytes, topic: str, channel: str = "") -> Body:
        """Return a body for people to read; what no codec reads is text or binary.

        Args:
            raw: The bytes.
            topic: Topic of the message.
            channel: Channel of the handler; empty for any.
        """
        body = Body.read(raw)
        value = body.value if isinstance(body.value, dict) else {}
        if body.kind == "binary" and (found := self._found(raw, topic, channel)) is not None:
            return Body("json", plain(found.event))
        if value.get("data_base64") is not None and (found := self._found(raw, topic, channel)) is not None:
            kept = {name: each for name, each in value.items() if name != "data_base64"}
            return Body("json", {**kept, "data": plain(found.event)})
        return body

    def draft(self, raw: bytes, topic: str, channel: str = "") -> Draft | None:
        """Return a body for a person to edit; None if the bytes themselves are to be edited.

        Args:
            raw: The bytes.
            topic: Topic of the message.
            channel: Channel of the handler; empty for any.
        """
        body = Body.read(raw)
        if body.kind == "json":
            text = decompressed(raw)
            return None if text == raw else Draft(text, partial(gzip.compress, mtime=0))
        found = self._found(raw, topic, channel)
        if body.kind == "text" or found is None or hasattr(found.event, "ListFields"):
            return None
        text = json.dumps(plain(found.event), ensure_ascii=False, separators=(",", ":")).encode()
        return Draft(text, partial(_packed, found))

    def _found(self, raw: bytes, topic: str, channel: str) -> _Found | None:
        """Return the event in a body, its type and its codec; None if no handler of the topic reads it."""
        for types, spec in self._readers(topic, channel):
            select, codec = (spec.select, spec.codec) if spec else (None, None)
            try:
                decoded = Decoder(topic, types, select=select, codec=codec).decode(raw)
                known = next(each for each in types if each.wire_type == decoded.wire_type)
                used = codec or known.codec
                if used is not None and not isinstance(used, BytesCodec):
                    plain(decoded.event)
                    return _Found(decoded.event, known, used)
            except (DecodeError, UnknownEventError, EncodeError):
                continue
        return None

    def _readers(self, topic: str, channel: str) -> Iterator[tuple[Types, HandlerSpec | None]]:
        for spec in self._specs:
            if topic in spec.topics and channel in {"", spec.channel}:
                yield spec.event_types, spec
        if known := REGISTRY.on_topic(topic):  # of a producer
            yield known, None

    @cached_property
    def _specs(self) -> tuple[HandlerSpec, ...]:
        if not self._settings.modules:
            return ()
        try:
            return load(self._settings.modules, self._settings).handlers
        except HandlerError as error:
            for problem in error.problems:
                self._on_problem(problem)
            return ()


def _packed(found: _Found, text: bytes) -> bytes:
    try:
        event = json_reader(cast("Any", found.known.model), found.known.shape)(text)
        return shaped(found.codec, found.known.shape).encode(event)
    except Exception as error:
        raise EncodeError(f"the edited text is no {found.known.wire_type}: {error}") from error
