"""Codec: events of every kind go out and come back whole, and a body that is wrong says where and why."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.errors import DecodeError, EncodeError, UnknownEventError
from nsqkit.events.codec.decoder import Decoded, Decoder
from nsqkit.events.codec.encoder import encode
from nsqkit.events.codec.formats import encode_json, loads
from nsqkit.events.stamp import Stamp
from nsqkit.events.types import EventRegistry, EventType


class Store(enum.Enum):
    NORTH = "north"
    SOUTH = "south"


@dataclasses.dataclass(frozen=True)
class Line:
    product: str
    quantity: int


@dataclasses.dataclass(frozen=True)
class PlainOrder:
    order_id: str
    lines: list[Line]
    total: float
    store: Store = Store.NORTH
    placed_at: dt.datetime | None = None
    note: str | None = None
    stock: dict[int, int] = dataclasses.field(default_factory=dict)


class PackedLine(msgspec.Struct, frozen=True):
    product: str
    quantity: int


class PackedOrder(msgspec.Struct, frozen=True):
    order_id: str
    lines: list[PackedLine]
    total: float
    store: Store = Store.NORTH
    placed_at: dt.datetime | None = None
    note: str | None = None
    stock: dict[int, int] = {}


class CheckedLine(pydantic.BaseModel, frozen=True):
    product: str
    quantity: int


class CheckedOrder(pydantic.BaseModel, frozen=True):
    order_id: str
    lines: list[CheckedLine]
    total: float
    store: Store = Store.NORTH
    placed_at: dt.datetime | None = None
    note: str | None = None
    stock: dict[int, int] = {}


@dataclasses.dataclass(frozen=True)
class Cancelled:
    order_id: str
    why: str = ""


@dataclasses.dataclass(frozen=True)
class Fussy:
    total: int

    def __post_init__(self) -> None:
        if self.total < 0:
            raise ValueError("a total is not negative")
        if self.total > 10:
            raise LookupError("nobody has so much")


class FussyChecked(pydantic.BaseModel):
    total: int

    @pydantic.model_validator(mode="after")
    def _not_negative(self) -> "FussyChecked":
        if self.total < 0:
            raise ValueError("a total is not negative")
        return self


class Linked(pydantic.BaseModel):
    page: pydantic.AnyUrl


KINDS = [
    pytest.param(PlainOrder, Line, id="dataclass"),
    pytest.param(PackedOrder, PackedLine, id="msgspec.Struct"),
    pytest.param(CheckedOrder, CheckedLine, id="pydantic model"),
]
MODELS = [pytest.param(parameters.values[0], id=parameters.id) for parameters in KINDS]
STAMP = Stamp(source="shop", event_id="e-1", time="2024-05-01T10:00:00Z")
ORIGIN = {"traceparent", "tracestate", "correlationid", "causationid"}

CREATED = EventType("order.created", 3, "orders", PlainOrder)
CANCELLED = EventType("order.cancelled", 1, "orders", Cancelled)
FUSSY = EventType("order.fussy", 1, "orders", Fussy)


def _registry(*models: type[Any]) -> EventRegistry:
    registry = EventRegistry()
    for model in models:
        registry.add(EventType(f"order.{model.__name__}", 1, "orders", model))
    return registry


def _envelope(**fields: object) -> bytes:
    known = {"specversion": "1.0", "type": "order.cancelled.v1", "source": "shop", "id": "e-1"}
    known_or_given = {**known, "data": {"order_id": "o-1"}, **fields}
    return json.dumps({name: value for name, value in known_or_given.items() if value is not ...}).encode()


def _error(decoder: Decoder, body: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decoder.decode(body)
    return caught.value


# There and back


@pytest.mark.parametrize(("order", "line"), KINDS)
def test_an_event_is_a_cloud_event(order: Callable[..., object], line: Callable[..., object]) -> None:
    value = order(
        order_id="o-1", lines=[line(product="milk", quantity=2)], total=3.5, store=Store.SOUTH, stock={7: 1}
    )
    known, body = encode(value, STAMP, _registry(type(value)))
    assert known.model is type(value)
    assert json.loads(body) == {
        "specversion": "1.0",
        "type": known.wire_type,
        "source": "shop",
        "id": "e-1",
        "time": "2024-05-01T10:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "order_id": "o-1",
            "lines": [{"product": "milk", "quantity": 2}],
            "total": 3.5,
            "store": "south",
            "placed_at": None,
            "note": None,
            "stock": {"7": 1},
        },
    }


@pytest.mark.parametrize(
    "attributes",
    [
        pytest.param({}, id="none"),
        pytest.param({"traceparent": "00-ab-cd-01"}, id="a parent"),
        pytest.param({"traceparent": "00-ab-cd-01", "tracestate": "a=1"}, id="a parent and its state"),
        pytest.param({"correlationid": "c-1", "causationid": "e-0"}, id="the flow that it belongs to"),
    ],
)
def test_where_an_event_comes_from_goes_with_it(attributes: dict[str, str]) -> None:
    registry = _registry(Cancelled)
    _, body = encode(Cancelled("o-1"), STAMP, registry, attributes)
    written = json.loads(body)
    assert {name: written[name] for name in written.keys() & ORIGIN} == attributes
    decoded = Decoder("orders", (registry.of(Cancelled),)).decode(body)
    read = {"traceparent": decoded.traceparent, "tracestate": decoded.tracestate}
    read |= {"correlationid": decoded.correlationid}
    assert read == {name: attributes.get(name) for name in read}


TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
MOMENTS = st.datetimes(timezones=st.just(dt.UTC))


@pytest.mark.parametrize(("order", "line"), KINDS)
@given(data=st.data())
def test_an_event_comes_back_as_it_went(order: type[Any], line: type[Any], data: st.DataObject) -> None:
    lines = st.lists(st.builds(line, product=TEXTS, quantity=st.integers(-(2**53), 2**53)), max_size=3)
    value = data.draw(
        st.builds(
            order,
            order_id=TEXTS,
            lines=lines,
            total=FINITE,
            store=st.sampled_from(Store),
            placed_at=st.none() | MOMENTS,
            note=st.none() | TEXTS,
            stock=st.dictionaries(st.integers(-(2**31), 2**31), st.integers(0, 9), max_size=2),
        )
    )
    registry = _registry(order)
    known, body = encode(value, STAMP, registry)
    decoder = Decoder("orders", (known,), registry)
    assert _read(decoder.decode(body)) == Decoded(value, known.wire_type, "e-1", "shop")
    bare = decoder.decode(encode_json(value))
    assert bare == Decoded(value, known.wire_type)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(
            {"at": dt.datetime(2024, 5, 1, tzinfo=dt.UTC)},
            b'{"at":"2024-05-01T00:00:00+00:00"}',
            id="time",
        ),
        pytest.param({"id": uuid.UUID(int=1)}, b'{"id":"00000000-0000-0000-0000-000000000001"}', id="UUID"),
        pytest.param(
            {"total": decimal.Decimal("1.10")}, b'{"total":"1.10"}', id="a decimal keeps its digits"
        ),
        pytest.param({"raw": b"\x00\xff"}, b'{"raw":"AP8="}', id="bytes are base64"),
        pytest.param({"tags": {"a"}}, b'{"tags":["a"]}', id="a set is a list"),
        pytest.param({3: "x"}, b'{"3":"x"}', id="a whole number as key is its digits"),
        pytest.param(
            Linked(page=pydantic.AnyUrl("https://example.org/a")),
            b'{"page":"https://example.org/a"}',
            id="what only pydantic can write",
        ),
        pytest.param(
            [PackedLine("milk", 2), CheckedLine(product="milk", quantity=2), Line("milk", 2)],
            b"[" + b",".join([b'{"product":"milk","quantity":2}'] * 3) + b"]",
            id="models of every kind inside of others",
        ),
    ],
)
def test_values_are_written_as_plain_json(value: object, expected: bytes) -> None:
    assert encode_json(value) == expected


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param({"x": object()}, "dict cannot be written as JSON: ", id="an object of no kind"),
        pytest.param(
            2**65, "int cannot be written as JSON: Integer exceeds 64-bit range", id="a huge number"
        ),
        pytest.param("\ud800", "str cannot be written as JSON: ", id="half a character"),
        pytest.param([1j], "list cannot be written as JSON: ", id="a complex number"),
    ],
)
def test_what_json_cannot_hold_is_refused(value: object, problem: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode_json(value)
    assert str(caught.value).startswith(problem)


def test_what_is_not_an_event_cannot_be_published() -> None:
    with pytest.raises(EncodeError) as caught:
        encode(["o-1"], STAMP, EventRegistry())
    assert str(caught.value) == (
        'cannot publish: builtins.list is not an event: decorate it with @event("some.name", version=1)'
    )


def test_an_event_with_a_value_that_json_cannot_hold_is_refused() -> None:
    with pytest.raises(EncodeError, match="exceeds 64-bit range"):
        encode(Line("milk", 2**70), STAMP, _registry(Line))


# Which type a body is


def test_a_bare_body_is_the_event_of_a_handler_of_one_type() -> None:
    decoder = Decoder("orders", (CANCELLED,))
    assert decoder.decode(b'{"order_id":"o-1"}') == Decoded(Cancelled("o-1"), "order.cancelled.v1")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"order_id":"o-1","why":"\\"specversion\\""}', id="as a text"),
        pytest.param(b'{"order_id":"o-1","more":{"specversion":"1.0"}}', id="further down"),
        pytest.param(b'{"order_id":"o-1","specversion":null}', id="without a value"),
    ],
)
def test_a_body_that_only_mentions_specversion_is_bare(body: bytes) -> None:
    assert Decoder("orders", (CANCELLED,)).decode(body).event_id is None


def test_a_bare_body_says_nothing_to_a_handler_of_several_types() -> None:
    error = _error(Decoder("orders", (CREATED, CANCELLED)), b'{"order_id":"o-1"}')
    assert error.event_type == ""
    assert str(error) == (
        "topic orders: message at $: no CloudEvents envelope, and the handler takes several event types "
        "(order.created.v3, order.cancelled.v1)"
    )


@pytest.mark.parametrize(
    ("wire_type", "data", "expected"),
    [
        pytest.param("order.cancelled.v1", {"order_id": "o-1"}, Cancelled("o-1"), id="one"),
        pytest.param(
            "order.created.v3",
            {"order_id": "o-1", "lines": [], "total": 1},
            PlainOrder("o-1", [], 1.0),
            id="another",
        ),
    ],
)
def test_an_envelope_says_which_event_of_a_union_it_is(
    wire_type: str, data: object, expected: object
) -> None:
    decoded = Decoder("orders", (CREATED, CANCELLED)).decode(_envelope(type=wire_type, data=data))
    assert _read(decoded) == Decoded(expected, wire_type, "e-1", "shop")


def test_attributes_of_an_envelope_that_nsqkit_does_not_know_are_ignored() -> None:
    body = _envelope(subject="o-1", dataschema="https://example.org/s", comexample=[1, {"a": None}])
    assert Decoder("orders", (CANCELLED,)).decode(body).event == Cancelled("o-1")


def test_an_origin_that_is_no_text_is_ignored() -> None:
    body = _envelope(traceparent=7, tracestate={"a": 1}, correlationid=[])
    decoded = Decoder("orders", (CANCELLED,)).decode(body)
    assert (decoded.traceparent, decoded.tracestate, decoded.correlationid) == (None, None, None)


@pytest.mark.parametrize(
    "wire_type",
    [
        pytest.param("order.paid.v1", id="another event"),
        pytest.param("order.created.v4", id="a newer version"),
        pytest.param("order.cancelled.v0", id="version 0 of what nothing lifts"),
        pytest.param("order.gone.v1", id="an older version of another event"),
        pytest.param("order.created.v0", id="version 0"),
        pytest.param("order.created.v01", id="a version with a zero before it"),
        pytest.param("order.created.v\u0663", id="a version in other digits"),
        pytest.param("order.created.v-1", id="a negative version"),
        pytest.param("order.created.v" + "9" * 5000, id="a version of 5000 digits"),
        pytest.param("order.created", id="no version"),
        pytest.param(".v1", id="no name"),
        pytest.param("com.example.someevent", id="somebody else's event"),
    ],
)
def test_an_event_that_is_not_taken_here_is_unknown(wire_type: str) -> None:
    with pytest.raises(UnknownEventError) as caught:
        Decoder("orders", (CREATED, CANCELLED), _lifting()).decode(_envelope(type=wire_type))
    assert (caught.value.topic, caught.value.event_type) == ("orders", wire_type)


# Old versions


def _lift_1(data: dict[str, Any]) -> dict[str, Any]:
    return {"order_id": data["id"], "lines": data["lines"]}


def _lift_2(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "total": float(sum(line["quantity"] for line in data["lines"]))}


def _lifting() -> EventRegistry:
    registry = EventRegistry()
    registry.add_upcaster("order.created", 1, _lift_1)
    registry.add_upcaster("order.created", 2, _lift_2)
    return registry


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("version", "data"),
    [
        pytest.param(1, {"id": "o-1", "lines": [{"product": "milk", "quantity": 2}]}, id="over two versions"),
        pytest.param(2, {"order_id": "o-1", "lines": [{"product": "milk", "quantity": 2}]}, id="over one"),
    ],
)
def test_an_old_version_is_lifted_to_the_one_that_is_taken(
    model: type[Any], version: int, data: object
) -> None:
    known = EventType("order.created", 3, "orders", model)
    decoder = Decoder("orders", (CANCELLED, known), _lifting())
    decoded = decoder.decode(_envelope(type=f"order.created.v{version}", data=data))
    assert isinstance(decoded.event, model)
    assert json.loads(encode_json(decoded.event))["total"] == 2.0
    assert decoded.wire_type == f"order.created.v{version}"
    assert decoded.event_id == "e-1"


def test_an_old_version_that_nothing_lifts_is_unknown() -> None:
    registry = EventRegistry()
    registry.add_upcaster("order.created", 1, _lift_1)
    with pytest.raises(UnknownEventError):
        Decoder("orders", (CREATED,), registry).decode(_envelope(type="order.created.v1"))


def test_a_version_is_what_stands_behind_the_last_v() -> None:
    registry = EventRegistry()
    registry.add_upcaster("order.valued.very", 1, dict)
    known = EventType("order.valued.very", 2, "orders", Cancelled)
    decoded = Decoder("orders", (known,), registry).decode(_envelope(type="order.valued.very.v1"))
    assert decoded.event == Cancelled("o-1")


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        pytest.param({"lines": []}, "$.data", "KeyError: 'id'", id="the upcaster raised"),
        pytest.param([1], "$.data", "TypeError: ", id="the data is no object"),
        pytest.param(
            {"id": 7, "lines": []}, "$.data.order_id", "Expected `str`, got `int`", id="its result is wrong"
        ),
    ],
)
def test_an_old_version_that_cannot_be_lifted_is_undecodable(data: object, path: str, reason: str) -> None:
    error = _error(Decoder("orders", (CREATED,), _lifting()), _envelope(type="order.created.v1", data=data))
    assert (error.topic, error.event_type, error.path) == ("orders", "order.created.v1", path)
    assert error.reason.startswith(reason)


# What is wrong, and where


@pytest.mark.parametrize(
    ("fields", "event_type", "path", "reason"),
    [
        pytest.param({"type": ...}, "", "$.type", "must be a non-empty string", id="no type"),
        pytest.param({"type": 7}, "", "$.type", "must be a non-empty string, not 7", id="a number as type"),
        pytest.param({"type": ""}, "", "$.type", "must be a non-empty string, not ''", id="an empty type"),
        pytest.param({"id": ...}, "", "$.id", "must be a non-empty string", id="no id"),
        pytest.param({"id": 17}, "", "$.id", "must be a non-empty string, not 17", id="a number as id"),
        pytest.param({"source": ...}, "", "$.source", "must be a non-empty string", id="no source"),
        pytest.param({"data": ...}, "order.cancelled.v1", "$.data", "the envelope has no data", id="no data"),
        pytest.param(
            {"data": None}, "order.cancelled.v1", "$.data", "Expected `object`, got `null`", id="null as data"
        ),
        pytest.param(
            {"data": {}},
            "order.cancelled.v1",
            "$.data",
            "Object missing required field `order_id`",
            id="a missing field",
        ),
        pytest.param(
            {"data": {"order_id": 7}},
            "order.cancelled.v1",
            "$.data.order_id",
            "Expected `str`, got `int`",
            id="a field of the wrong type",
        ),
    ],
)
def test_a_wrong_envelope_says_where(fields: dict[str, Any], event_type: str, path: str, reason: str) -> None:
    error = _error(Decoder("orders", (CANCELLED,)), _envelope(**fields))
    assert (error.topic, error.event_type, error.path, error.reason) == ("orders", event_type, path, reason)


def test_a_long_value_is_not_repeated_whole() -> None:
    error = _error(Decoder("orders", (CANCELLED,)), _envelope(id=["x" * 10_000]))
    assert len(error.reason) < 150


NOT_JSON = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"hello", id="plain text"),
    pytest.param(b'{"order_id": "o-1"', id="cut off"),
    pytest.param(b'{"order_id": "o-1", "lines": [], "total": 1} x', id="with something behind it"),
    pytest.param(b'{"order_id": "\xff"}', id="not UTF-8"),
    pytest.param(b"\x80\x04\x95", id="binary"),
    pytest.param(b'{"specversion": "1.0", "type": }', id="a broken envelope"),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("body", NOT_JSON)
def test_a_body_that_is_not_json_is_told(model: type[Any], body: bytes) -> None:
    error = _error(Decoder("orders", (EventType("order.created", 1, None, model),)), body)
    enveloped = b"specversion" in body
    assert (error.topic, error.event_type, error.path) == (
        "orders",
        "" if enveloped else "order.created.v1",
        "$",
    )
    assert "json" in error.reason.lower()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"x": ' + b"[" * 100_000, id="bare"),
        pytest.param(b'{"specversion": "1.0", "id": ' + b"[" * 100_000, id="in an attribute of the envelope"),
        pytest.param(b'{"specversion": "1.0", "x": ' + b"[" * 100_000, id="in an unknown attribute"),
        pytest.param(
            b'{"specversion":"1.0","type":"order.created.v1","id":"e","source":"s","data":'
            + b'{"x":[' * 50_000,
            id="in the data",
        ),
    ],
)
def test_a_body_nested_without_end_is_undecodable_like_any_other(model: type[Any], body: bytes) -> None:
    error = _error(Decoder("orders", (EventType("order.created", 1, None, model),)), body)
    assert error.path == "$"
    assert error.reason == "nested too deeply" or (
        model is CheckedOrder and "recursion limit" in error.reason
    )


@pytest.mark.parametrize(("order", "line"), KINDS)
@pytest.mark.parametrize(
    ("data", "path"),
    [
        pytest.param({"order_id": "o-1", "lines": [], "total": "much"}, "$.total", id="a field"),
        pytest.param(
            {
                "order_id": "o-1",
                "lines": [{"product": "a", "quantity": 1}, {"product": "b", "quantity": []}],
                "total": 1,
            },
            "$.lines[1].quantity",
            id="a field of an item of a list",
        ),
        pytest.param(
            {"order_id": "o-1", "lines": [], "total": 1, "store": "west"},
            "$.store",
            id="a choice that does not exist",
        ),
        pytest.param({"order_id": "o-1", "lines": {}, "total": 1}, "$.lines", id="an object for a list"),
        pytest.param([], "$", id="a list for the whole"),
    ],
)
def test_a_wrong_shape_names_the_json_path(
    order: type[Any], line: type[Any], data: object, path: str
) -> None:
    """In a bare body from its root, in an envelope below its data; the same for all kinds of models."""
    decoder = Decoder("orders", (EventType("order.created", 1, None, order),))
    bare = _error(decoder, json.dumps(data).encode())
    enveloped = _error(decoder, _envelope(type="order.created.v1", data=data))
    assert (bare.topic, bare.event_type, bare.path) == ("orders", "order.created.v1", path)
    assert (enveloped.event_type, enveloped.path) == ("order.created.v1", path.replace("$", "$.data", 1))
    assert bare.reason == enveloped.reason != ""


@pytest.mark.parametrize(
    ("model", "total", "reason"),
    [
        pytest.param(Fussy, -1, "a total is not negative", id="of a dataclass"),
        pytest.param(Fussy, 11, "LookupError: nobody has so much", id="whatever it raises"),
        pytest.param(FussyChecked, -1, "Value error, a total is not negative", id="of a pydantic model"),
    ],
)
def test_a_check_of_the_classes_own_is_told(model: type[Any], total: int, reason: str) -> None:
    decoder = Decoder("orders", (EventType("order.fussy", 1, None, model),))
    error = _error(decoder, json.dumps({"total": total}).encode())
    assert (error.path, error.reason) == ("$", reason)


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_a_class_raises_that_is_no_exception_is_told_too(kind: type[BaseException]) -> None:
    @dataclasses.dataclass
    class Leaving:
        total: int

        def __post_init__(self) -> None:
            raise kind("not now")

    decoder = Decoder("orders", (EventType("order.leaving", 1, None, Leaving),))
    for body in (b'{"total": 1}', _envelope(type="order.leaving.v1", data={"total": 1})):
        assert _error(decoder, body).reason == f"{kind.__name__}: not now"


def test_an_error_with_an_errors_method_of_its_own_is_told_like_any_other() -> None:
    class OddError(Exception):
        def errors(self) -> None:
            raise RuntimeError("never called")

    @dataclasses.dataclass
    class Odd:
        total: int

        def __post_init__(self) -> None:
            raise OddError("odd")

    error = _error(Decoder("orders", (EventType("order.odd", 1, None, Odd),)), b'{"total": 1}')
    assert error.reason == "OddError: odd"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_whatever_the_body_it_is_an_event_or_an_error_of_nsqkits(body: bytes) -> None:
    decoder = Decoder("orders", (CANCELLED, FUSSY))
    with pytest.raises((DecodeError, UnknownEventError)):
        decoder.decode(body)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"specversion": JSON_VALUES},
        optional={
            "type": st.sampled_from(["order.cancelled.v1", "order.fussy.v1", "order.fussy.v2"]) | JSON_VALUES,
            "id": st.just("e-1") | JSON_VALUES,
            "source": st.just("shop") | JSON_VALUES,
            "traceparent": JSON_VALUES,
            "data": st.just({"order_id": "o-1"}) | st.builds(dict, total=st.integers(-20, 20)) | JSON_VALUES,
        },
    )
)
def test_whatever_the_envelope_it_is_an_event_or_an_error_of_nsqkits(envelope: dict[str, object]) -> None:
    decoded = None
    with contextlib.suppress(DecodeError, UnknownEventError):
        decoded = Decoder("orders", (CANCELLED, FUSSY)).decode(json.dumps(envelope).encode())
    if decoded is not None:
        assert (
            type(decoded.event) is {CANCELLED.wire_type: Cancelled, FUSSY.wire_type: Fussy}[decoded.wire_type]
        )
        assert decoded.wire_type == envelope["type"]
        assert decoded.event_id == envelope["id"]


def test_a_number_that_is_none_is_not_what_went_out() -> None:
    """JSON has no NaN: it is written as null, and a reader that needs a number refuses it."""
    assert encode_json({"total": math.nan}) == b'{"total":null}'


@pytest.mark.parametrize(
    ("body", "expected"), [(b'{"a": [1, 2.5, null]}', {"a": [1, 2.5, None]}), (b'"text"', "text"), (b"7", 7)]
)
def test_loads_reads_any_json(body: bytes, expected: object) -> None:
    assert loads(body) == expected


def test_loads_says_where_it_is_not_json() -> None:
    with pytest.raises(ValueError, match="line 1 column 7"):
        loads(b'{"a": x}')


_TEXTS = st.one_of(st.none(), st.just(""), st.just("shop"), st.integers(0, 9))
_ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "specversion": st.sampled_from(["1.0", None, 1]),
        "type": st.sampled_from(["order.cancelled.v1", "order.created.v3", "order.lost.v1", "", None, 7]),
        "id": _TEXTS,
        "source": _TEXTS,
        "traceparent": _TEXTS,
        "tracestate": _TEXTS,
        "correlationid": _TEXTS,
        "data": st.sampled_from(
            [
                {"order_id": "o-1"},
                {"order_id": 1},
                {"order_id": "o-1", "why": '"type":"order.created.v3"'},
                None,
            ]
        ),
        "order_id": st.just("o-2"),
        "more": st.sampled_from(["order.created.v3", {"type": "order.cancelled.v1"}]),
    },
)


@given(envelope=_ENVELOPES)
def test_what_is_read_at_once_is_what_is_read_in_steps(envelope: dict[str, Any]) -> None:
    decoder = Decoder("orders", (CREATED, CANCELLED))
    body = json.dumps(envelope).encode()
    found: list[Any] = []
    for decode in (decoder.decode, decoder._decode_in_steps):
        try:
            found.append(_read(decode(body)))
        except (DecodeError, UnknownEventError) as error:
            found.append((type(error), str(error), error.event_id))
    assert found[0] == found[1]


def _read(decoded: Decoded) -> Decoded:
    """Return a decoded event without what the class that read it adds."""
    return Decoded(*(getattr(decoded, name) for name in Decoded.__struct_fields__))
