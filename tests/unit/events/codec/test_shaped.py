"""Shaped events: other names and values are read and written alike, also inside of containers."""

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NewType, TypeVar

import msgspec
import pytest

from nsqkit.errors import DecodeError, EncodeError, EventError
from nsqkit.events.codec.binary import MsgpackCodec
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.encoder import encode
from nsqkit.events.shape import Shape
from nsqkit.events.stamp import Stamp
from nsqkit.events.types import EventRegistry, EventType

STAMP = Stamp(source="shop", event_id="e-1", time="2024-05-01T10:00:00Z")
AT = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
MS = 1714566600000
Moment = NewType("Moment", dt.datetime)
T = TypeVar("T")


@dataclasses.dataclass
class Address:
    zip_code: str


@dataclasses.dataclass(frozen=True)
class Line:
    line_number: int
    sold_at: dt.datetime | None = None


@dataclasses.dataclass
class Order:
    order_id: str
    placed_at: dt.datetime
    line_items: list[Line] = dataclasses.field(default_factory=list)
    ship_to: Address | None = None
    by_name: Mapping[str, Line] = dataclasses.field(default_factory=dict)
    first_and_rest: tuple[Line, int, Line] | None = None
    more_lines: Sequence[Line] = ()
    seen_at: Moment | None = None
    total: float = dataclasses.field(default=0.0, init=False)


@dataclasses.dataclass
class Page(Generic[T]):
    item_list: list[T]


class Packed(msgspec.Struct):
    at: dt.datetime
    note: str = msgspec.field(name="the-note", default="")


@dataclasses.dataclass
class Tree:
    inner_trees: list["Tree"]


def from_epoch_ms(value: Any) -> dt.datetime:
    return dt.datetime.fromtimestamp(value / 1000, dt.UTC)


def to_epoch_ms(value: dt.datetime) -> int:
    return round(value.timestamp() * 1000)


def from_parts(value: Any) -> dt.datetime:
    year, month, day, hour, minute = value
    return dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC)


def from_json(value: Any) -> Address:
    return Address(**json.loads(value))


def to_json(value: Address) -> str:
    return json.dumps({"zip_code": value.zip_code})


def _registry(model: Any, shape: Shape, **options: Any) -> EventRegistry:
    registry = EventRegistry()
    registry.add(EventType("order.shaped", 1, "shaped", model, shape=shape, **options))
    return registry


HOOKED = Shape("camel", decode={dt.datetime: from_epoch_ms}, encode={dt.datetime: to_epoch_ms})
ORDER = Order(
    "o-1",
    AT,
    [Line(1, AT), Line(2)],
    Address("10115"),
    {"a_b": Line(3)},
    (Line(4), 7, Line(5)),
    [Line(6)],
    Moment(AT),
)
WRITTEN = {
    "orderId": "o-1",
    "placedAt": MS,
    "lineItems": [{"lineNumber": 1, "soldAt": MS}, {"lineNumber": 2, "soldAt": None}],
    "shipTo": {"zipCode": "10115"},
    "byName": {"a_b": {"lineNumber": 3, "soldAt": None}},
    "firstAndRest": [{"lineNumber": 4, "soldAt": None}, 7, {"lineNumber": 5, "soldAt": None}],
    "moreLines": [{"lineNumber": 6, "soldAt": None}],
    "seenAt": MS,
}


@pytest.mark.parametrize("codec", [None, MsgpackCodec()])
def test_names_and_hooks_hold_for_reading_and_writing_at_every_depth(codec: Any) -> None:
    registry = _registry(Order, HOOKED, codec=codec)
    known, body = encode(ORDER, STAMP, registry)
    if codec is None:
        assert json.loads(body)["data"] == WRITTEN
    assert Decoder("shaped", (known,), registry).decode(body).event == ORDER


@pytest.mark.parametrize(
    ("shape", "model", "body", "expected"),
    [
        pytest.param(
            Shape("pascal"),
            Line,
            {"LineNumber": 1, "SoldAt": "2024-05-01T12:30:00Z"},
            Line(1, AT),
            id="PascalCase",
        ),
        pytest.param(Shape({"line_number": "no"}), Line, {"no": 1}, Line(1), id="a mapping of names"),
        pytest.param(
            Shape("camel"), Page[Line], {"itemList": [{"lineNumber": 1}]}, Page([Line(1)]), id="generic"
        ),
        pytest.param(Shape(strict=False), Line, {"line_number": "7"}, Line(7), id="a number in a text"),
        pytest.param(
            Shape(strict=False),
            Line,
            {"line_number": 7, "sold_at": MS / 1000},
            Line(7, AT),
            id="epoch seconds",
        ),
        pytest.param(
            Shape("camel", strict=False), Line, {"lineNumber": "7"}, Line(7), id="a renamed number in a text"
        ),
        pytest.param(
            Shape(decode={Address: from_json}),
            Order,
            {"order_id": "o", "placed_at": "2024-05-01T12:30:00Z", "ship_to": '{"zip_code": "1"}'},
            Order("o", AT, ship_to=Address("1")),
            id="JSON in a text",
        ),
        pytest.param(
            Shape(decode={dt.datetime: from_parts}),
            Line,
            {"line_number": 1, "sold_at": [2024, 5, 1, 12, 30]},
            Line(1, AT),
            id="a date as an array",
        ),
        pytest.param(
            Shape(decode={dt.datetime: from_epoch_ms}),
            Packed,
            {"at": MS, "the-note": "n"},
            Packed(AT, "n"),
            id="Struct",
        ),
    ],
)
def test_a_body_of_another_shape_is_read(shape: Shape, model: Any, body: object, expected: object) -> None:
    known = EventType("order.shaped", 1, None, model, shape=shape)
    assert Decoder("shaped", (known,)).decode(json.dumps(body).encode()).event == expected


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        pytest.param({"orderId": 7, "placedAt": MS}, "$.orderId", "Expected `str`, got `int`", id="a type"),
        pytest.param({"orderId": "o"}, "$", "Object missing required field `placedAt`", id="a missing field"),
        pytest.param(
            {"orderId": "o", "placedAt": "then"},
            "$.placedAt",
            "unsupported operand type(s) for /: 'str' and 'int'",
            id="what a hook raises",
        ),
        pytest.param(
            {"orderId": "o", "placedAt": MS, "lineItems": [{"lineNumber": "x"}]},
            "$.lineItems[0].lineNumber",
            "Expected `int`, got `str`",
            id="a field further inside",
        ),
    ],
)
def test_what_is_wrong_is_named_as_in_the_body(body: object, path: str, reason: str) -> None:
    known = EventType("order.shaped", 1, None, Order, shape=HOOKED)
    with pytest.raises(DecodeError) as caught:
        Decoder("shaped", (known,)).decode(json.dumps(body).encode())
    assert (caught.value.path, caught.value.reason) == (path, reason)


def test_a_hook_for_reading_alone_does_not_publish_what_it_cannot_read() -> None:
    with pytest.raises(EncodeError, match=r"field placedAt: a reader would not get it"):
        encode(Order("o", AT), STAMP, _registry(Order, Shape("camel", decode={dt.datetime: from_epoch_ms})))


@pytest.mark.parametrize(
    ("model", "shape", "problem"),
    [
        pytest.param(
            Line, Shape({"nmber": "n"}), "rename names 'nmber', which is no field of Line", id="no field"
        ),
        pytest.param(Tree, Shape("camel"), "Tree contains itself", id="a class in itself"),
    ],
)
def test_a_shape_that_cannot_be_read_is_refused(model: Any, shape: Shape, problem: str) -> None:
    with pytest.raises(EventError, match=problem):
        Decoder("shaped", (EventType("order.shaped", 1, None, model, shape=shape),))
