"""Foreign bodies: each is read as its producer meant it, or its dead letter says what is wrong with it."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from nsqkit.errors import DecodeError, UnknownEventError
from nsqkit.events.codec.binary import MsgpackCodec
from nsqkit.events.codec.compressed import GzipCodec
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.shape import Shape
from nsqkit.events.types import EventType
from tests.foreign.bodies import HERE, Foreign, comparable, kept, parsed
from tests.waiting import PATIENCE_S

AT = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


@dataclasses.dataclass
class Order:
    order_id: str
    total_cents: int
    placed_at: datetime
    note: str | None = None
    tags: list[str] | None = None


@dataclasses.dataclass
class Nested:
    order: Order


class Paid(msgspec.Struct, tag="paid", tag_field="type", rename="camel"):
    order_id: str


class Refunded(msgspec.Struct, tag="refunded", tag_field="type", rename="camel"):
    order_id: str


def from_ms(value: int) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC)


def from_parts(value: list[int]) -> datetime:
    year, month, day, hour, minute = value
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def from_text(value: str) -> Order:
    fields = json.loads(value)
    return Order(fields["orderId"], fields["totalCents"], datetime.fromisoformat(fields["placedAt"]))


def _decoder(
    model: type[Any], shape: Shape, codec: Any = None, exact: str | None = "com.example.Order"
) -> Decoder:
    return Decoder("foreign", (EventType("foreign.order", 1, None, model, exact, shape, codec),))


PASCAL = {"order_id": "OrderID", "total_cents": "TotalCents", "placed_at": "PlacedAt"}
TAGGED = (EventType("foreign.paid", 1, None, Paid), EventType("foreign.refunded", 1, None, Refunded))
READERS = {
    "camel": _decoder(Order, Shape("camel")),
    "event": _decoder(Order, Shape("camel")),
    "pascal": _decoder(Order, Shape(PASCAL)),
    "lax": _decoder(Order, Shape("camel", strict=False)),
    "ms": _decoder(Order, Shape("camel", decode={datetime: from_ms})),
    "parts": _decoder(Order, Shape("camel", decode={datetime: from_parts})),
    "nested": _decoder(Nested, Shape(decode={Order: from_text})),
    "gzip": _decoder(Order, Shape("camel"), GzipCodec()),
    "msgpack": _decoder(Order, Shape("camel"), MsgpackCodec()),
    "tagged": Decoder("foreign", TAGGED),
}
ORDER = Order("o-1", 700, AT)
"""What most bodies are."""
OTHERS: dict[tuple[str, str], Any] = {
    ("go", "tags"): Order("o-1", 700, AT, tags=[]),
    ("go", "indented"): Order("o-1", 700, AT, tags=[]),
    ("go", "Encoder, with a newline"): Order("o-1", 700, AT, tags=[]),
    ("go", "HTML escapes"): Order("o-1", 700, AT, "a <b> & ü 😀"),
    ("go", "nanoseconds"): Order("o-1", 700, AT.replace(microsecond=123457)),
    ("go", "largest int64"): Order("o-1", 2**63 - 1, AT),
    ("go", "a float for an integer"): "$.totalCents: Expected `int`, got `float`",
    ("go", "a large float"): "$.totalCents: Expected `int`, got `float`",
    ("go", "invalid UTF-8, replaced"): Order("o-\ufffd", 700, AT),
    ("go", "gzip"): Order("o-1", 700, AT, tags=[]),
    ("go", "gzip without a codec"): "which is gzip; give the event or the handler codec=GzipCodec()",
    ("go", "gzip cut off"): "damaged gzip: it is cut off",
    ("go", "CloudEvent"): Order("o-1", 700, AT, tags=[]),
    ("go", "CloudEvent in base64"): Order("o-1", 700, AT, tags=[]),
    ("go", "CloudEvent in gzip"): Order("o-1", 700, AT, tags=[]),
    ("go", "CloudEvent of another type"): "no handler here for event type 'com.example.Other'",
    ("go", "batch"): "a batch of 2 CloudEvents",
    ("go", "tag"): Paid("o-1"),
    ("go", "tag of another type"): "no handler here for event type 'shipped'",
    ("go", "no tag"): "$.type: must name the event type, as one of: 'paid', 'refunded'",
    ("go", "UTF-16"): "UTF-16 byte order mark",
    ("node", "JSON in a text"): Nested(ORDER),
    ("node", "NaN"): "$.totalCents: Expected `int`, got `null`",
    ("node", "emoji"): Order("o-1", 700, AT, "😀"),
    ("node", "half of an emoji"): r"it has \ud83d (byte 80), a lone surrogate",
    ("node", "half of an emoji in an event"): r"it has \ude00 (byte 163), a lone surrogate",
    ("node", "Latin-1"): "it has EB (byte 82), which is not UTF-8 but 'ë' in Latin-1",
    ("node", "UTF-16LE"): "it has 00 (byte 1), as in UTF-16",
    ("node", "BOM"): "UTF-8 byte order mark",
    ("node", "template string"): "object keys must be strings (byte 1)",
    ("node", "[object Object]"): "Expected `object`, got `array`",
    ("node", "empty"): "not JSON: it is empty",
    ("node", "CloudEvent with data twice"): "has data and data_base64",
    ("node", "CloudEvent 0.3"): "$.specversion: must be '1.0', not '0.3'",
    ("node", "CloudEvent without an id"): "$.id: must be a non-empty string",
    ("node", "tag"): Refunded("o-1"),
    ("python", "no ASCII"): Order("o-1", 700, AT, "Zoë"),
    ("python", "NaN"): "it has NaN (byte 33), which JSON does not have",
    ("python", "infinity in an event"): "it has Infinity (byte 127), which JSON does not have",
    ("python", "a time without a zone"): Order("o-1", 700, AT.replace(tzinfo=None)),
    ("python", "a timedelta as text"): "$.placedAt: Invalid RFC3339 encoded datetime",
    ("python", "the repr of a dict"): "object keys must be strings (byte 1)",
    ("python", "json.dumps twice"): "Expected `object`, got `str`",
    ("python", "a list"): "Expected `object`, got `array`",
    ("python", "pickle"): "it has 80 (byte 0), which is not UTF-8",
    ("python", "MessagePack cut off"): "not MessagePack: Input data was truncated",
    ("python", "CloudEvent with base64 of no JSON"): "$.data_base64: not JSON: it has 00 (byte 0)",
    ("python", "CloudEvent with no base64"): "$.data_base64: not base64",
    ("python", "UTF-8 with a BOM"): "UTF-8 byte order mark",
    ("python", "UTF-16"): "UTF-16 byte order mark",
}
KEPT = kept()


def _name(foreign: Foreign) -> str:
    return f"{foreign.language}: {foreign.name}"


@pytest.mark.parametrize("foreign", KEPT, ids=_name)
def test_a_body_is_read_as_it_was_meant(foreign: Foreign) -> None:
    expected = OTHERS.get((foreign.language, foreign.name), ORDER)
    decode = READERS[foreign.reader].decode
    if not isinstance(expected, str):
        assert decode(foreign.body).event == expected
        return
    with pytest.raises((DecodeError, UnknownEventError)) as caught:
        decode(foreign.body)
    assert expected in str(caught.value)


def test_there_are_bodies_of_many_kinds() -> None:
    assert len({(each.language, each.name) for each in KEPT}) == len(KEPT) >= 60
    assert set(OTHERS) <= {(each.language, each.name) for each in KEPT}


@pytest.mark.parametrize(
    ("language", "command"),
    [
        pytest.param("go", ("go", "run", "write.go"), id="Go"),
        pytest.param("node", ("node", "write.mjs"), id="Node"),
        pytest.param("python", (sys.executable, "write.py"), id="Python"),
    ],
)
def test_the_programs_write_the_same_bodies_again(language: str, command: tuple[str, ...]) -> None:
    if shutil.which(command[0]) is None:
        assert not os.environ.get("CI"), f"CI needs {command[0]}"
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command, cwd=HERE, capture_output=True, text=True, check=True, timeout=10 * PATIENCE_S
    )
    same_language = [each for each in KEPT if each.language == language]
    assert comparable(parsed(language, done.stdout)) == comparable(same_language)
