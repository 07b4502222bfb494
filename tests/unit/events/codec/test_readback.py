"""Read-back: what is published can be read back as it is, or the publisher hears which field is to blame."""

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import math
import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from nsqkit.errors import EncodeError
from nsqkit.events.codec.binary import BytesCodec, MsgpackCodec
from nsqkit.events.codec.codecs import JsonCodec
from nsqkit.events.codec.compressed import GzipCodec
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.encoder import encode
from nsqkit.events.codec.generics import with_arguments
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.stamp import Stamp
from nsqkit.events.typed import Typed
from nsqkit.events.types import EventRegistry, EventType

STAMP = Stamp(source="shop", event_id="e-1", time="2024-05-01T10:00:00Z")
T = TypeVar("T")
U = TypeVar("U")


class Colour(enum.Enum):
    RED = "red"
    DEEP = "deep red"


class Inner(msgspec.Struct, tag="inner", frozen=True):
    amount: float


class Other(msgspec.Struct, tag="other", frozen=True):
    amount: decimal.Decimal


class Page(msgspec.Struct, Generic[T], frozen=True):
    item: T


@dataclasses.dataclass(frozen=True)
class PlainInner:
    amount: float


class CheckedInner(pydantic.BaseModel, frozen=True):
    amount: float = pydantic.Field(alias="theAmount")


@pydantic_dataclass(frozen=True)
class RuledInner:
    amount: float


def _field(kind: Any, values: st.SearchStrategy[Any], usual: Any) -> tuple[Any, st.SearchStrategy[Any], Any]:
    return kind, values, usual


FREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)
MOMENTS = st.datetimes() | st.datetimes(timezones=st.timezones())
NOW = dt.datetime(2024, 5, 1, 12, 30, tzinfo=dt.UTC)
Keyed = TypedDict("Keyed", {"the-key": float})
FIELDS = {
    "text": _field(str, st.text(st.characters(exclude_categories=())), "a"),
    "number": _field(float, st.floats(), 1.5),
    "whole": _field(int, st.integers() | st.booleans(), 1),
    "flag": _field(bool, st.booleans(), True),
    "at": _field(dt.datetime, MOMENTS, NOW),
    "day": _field(dt.date, st.dates(), NOW.date()),
    "clock": _field(dt.time, st.times() | st.times(timezones=st.timezones()), NOW.time()),
    "span": _field(dt.timedelta, st.timedeltas(), dt.timedelta(1)),
    "money": _field(decimal.Decimal, st.decimals(), decimal.Decimal("1.10")),
    "raw": _field(bytes, st.binary(), b"a"),
    "id": _field(uuid.UUID, st.uuids(), uuid.UUID(int=1)),
    "colour": _field(Colour, st.sampled_from(Colour), Colour.RED),
    "names": _field(list[str], st.lists(st.text(), max_size=3) | st.tuples(st.text()), ["a"]),
    "pair": _field(tuple[int, str], st.tuples(st.integers(), st.text()), (1, "a")),
    "stock": _field(dict[str, float], st.dictionaries(st.text(), st.floats(), max_size=3), {"a": 1.5}),
    "bins": _field(dict[int, int], st.dictionaries(st.integers(), st.integers(), max_size=3), {1: 2}),
    "seen": _field(set[int], st.sets(st.integers(), max_size=3), {1}),
    "maybe": _field(float | None, st.none() | st.floats(), None),
    "free": _field(Any, FREE, None),
}
OWN_UNION = st.builds(Inner, st.floats()) | st.builds(Other, st.decimals())
TAGGED = _field(Inner | Other, OWN_UNION, Inner(1.5))
KEYED = _field(Keyed, st.builds(lambda number: {"the-key": number}, st.floats()), {"the-key": 1.5})


@dataclasses.dataclass
class Generous(Generic[T]):
    item: T
    items: list[T]


class PydanticPage(pydantic.BaseModel, Generic[T]):
    item: T


Fields = dict[str, tuple[Any, st.SearchStrategy[Any], Any]]


def _struct() -> tuple[Any, Fields]:
    page = _field(Page[float], st.builds(Page, st.floats()), Page(1.5))
    fields = {**FIELDS, "tagged": TAGGED, "keyed": KEYED, "page": page}
    kinds = [(name, kind) for name, (kind, _, _) in fields.items()]
    return msgspec.defstruct("StructEvent", kinds, rename="camel"), fields


def _dataclass() -> tuple[Any, Fields]:
    inner = _field(PlainInner, st.builds(PlainInner, st.floats()), PlainInner(1.5))
    fields = {**FIELDS, "tagged": TAGGED, "keyed": KEYED, "inner": inner}
    kinds = [(name, kind) for name, (kind, _, _) in fields.items()]
    return dataclasses.make_dataclass("DataclassEvent", kinds), fields


def _pydantic_model() -> tuple[Any, Fields]:
    inner = _field(CheckedInner, st.builds(CheckedInner, theAmount=st.floats()), CheckedInner(theAmount=1.5))
    pages = st.builds(PydanticPage[float], item=st.floats())
    page = _field(PydanticPage[float], pages, PydanticPage[float](item=1.5))
    fields = {**FIELDS, "inner": inner, "page": page}
    kinds: dict[str, Any] = {name: (kind, ...) for name, (kind, _, _) in fields.items()}
    kinds["orderId"] = (str, pydantic.Field(alias="order-id", default="o-1"))
    return pydantic.create_model("PydanticEvent", **kinds), fields


def _pydantic_dataclass() -> tuple[Any, Fields]:
    inner = _field(RuledInner, st.builds(RuledInner, st.floats()), RuledInner(1.5))
    fields = {**FIELDS, "inner": inner}
    plain = dataclasses.make_dataclass("RuledEvent", [(name, kind) for name, (kind, _, _) in fields.items()])
    return pydantic_dataclass(plain), fields


def _attrs() -> tuple[Any, Fields]:
    attrs = pytest.importorskip("attrs")
    made = {name: attrs.field(type=kind) for name, (kind, _, _) in FIELDS.items()}
    return attrs.make_class("AttrsEvent", made), FIELDS


def _typeddict() -> tuple[Any, Fields]:
    make: Any = TypedDict
    return make("TypedDictEvent", {name: kind for name, (kind, _, _) in FIELDS.items()}), FIELDS


def _generic() -> tuple[Any, Fields]:
    fields = {"item": TAGGED, "items": _field(list[Inner | Other], st.lists(OWN_UNION, max_size=3), [])}
    model: Any = Generous
    return model[Inner | Other], fields


def _known(
    kind: Callable[[], tuple[Any, Fields]], codec: Codec | None = None, *, enveloped: bool = True
) -> tuple[EventType, Fields]:
    model, fields = kind()
    return EventType("test_readback.any", 1, None, model, codec=codec, is_enveloped=enveloped), fields


FORMATS: list[Any] = [
    pytest.param(*_known(_struct), id="Struct"),
    pytest.param(*_known(_dataclass), id="dataclass"),
    pytest.param(*_known(_pydantic_model), id="pydantic model"),
    pytest.param(*_known(_pydantic_dataclass), id="pydantic dataclass"),
    pytest.param(*_known(_typeddict), id="TypedDict"),
    pytest.param(*_known(_typeddict, MsgpackCodec(), enveloped=False), id="TypedDict in MessagePack"),
    pytest.param(*_known(_generic), id="generic dataclass"),
    pytest.param(*_known(_struct, GzipCodec(), enveloped=False), id="Struct in gzip"),
    pytest.param(*_known(_dataclass, JsonCodec(), enveloped=False), id="dataclass in bare JSON"),
    pytest.param(*_known(_dataclass, MsgpackCodec()), id="dataclass in MessagePack in an envelope"),
    pytest.param(*_known(_pydantic_model, MsgpackCodec(), enveloped=False), id="pydantic in MessagePack"),
]


@pytest.mark.parametrize(("known", "fields"), FORMATS)
@given(data=st.data())
def test_what_is_published_can_be_read_back_or_names_its_field(
    known: EventType, fields: Fields, data: st.DataObject
) -> None:
    _check(known, fields, data)


@given(data=st.data())
def test_a_class_of_attrs_can_be_read_back_or_names_its_field(data: st.DataObject) -> None:
    _check(*_attrs_known(), data)


@functools.cache
def _attrs_known() -> tuple[EventType, Fields]:
    return _known(_attrs)


def _check(known: EventType, fields: Fields, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(fields)), "field")
    values = {each: usual for each, (_, _, usual) in fields.items()}
    values[name] = data.draw(fields[name][1], "value")
    try:
        sent = known.model(**values)
    except ValueError:  # of pydantic
        return
    registry = EventRegistry()
    registry.add(known)
    try:
        _, body = encode(Typed(known.model, sent), STAMP, registry)
    except EncodeError as error:
        assert str(error).startswith(f"test_readback.any.v1: field {name}")  # noqa: PT017 - or it is read back
        return
    found = _decoder(known).decode(body).event
    assert type(found) is type(sent)
    assert found == sent or "nan" in repr(sent).lower()


@functools.cache
def _decoder(known: EventType) -> Decoder:
    return Decoder("test_readback", (known,))


# Single values


class Aliased(pydantic.BaseModel):
    order_id: str = pydantic.Field(alias="orderId")


class OneWay(pydantic.BaseModel):
    order_id: str = pydantic.Field(validation_alias="orderId", serialization_alias="order")


class ByName(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(validate_by_name=True, validate_by_alias=False)
    order_id: str = pydantic.Field(alias="orderId")


class Hidden(pydantic.BaseModel):
    secret: str = pydantic.Field(default="", exclude=True)


class Base64(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
    raw: bytes


class Raw(pydantic.BaseModel):
    raw: bytes


@dataclasses.dataclass
class Line:
    amount: float
    count: int = 1


@dataclasses.dataclass
class Basket:
    lines: list[Line]
    more: Any = None


@dataclasses.dataclass(eq=False)
class Incomparable:
    lines: list[Line]


@dataclasses.dataclass
class Cached:
    number: int
    cache: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass
class Gift(Line):
    note: str = ""


@dataclasses.dataclass
class Odd:
    __hash__ = None  # type: ignore[assignment]
    number: int

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")


def _event(model: type[Any]) -> EventRegistry:
    registry = EventRegistry()
    registry.add(EventType("order.sent", 1, "orders", model))
    return registry


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(Aliased(orderId="o-1"), id="an alias"),
        pytest.param(ByName.model_validate({"order_id": "o-1"}), id="an alias that readers do not take"),
        pytest.param(Base64(raw=b"\xff"), id="bytes in base64"),
        pytest.param(Raw(raw="ä".encode()), id="bytes that are UTF-8"),
        pytest.param(Cached(1, cache={"a": 1}), id="a field that is not compared"),
        pytest.param(Odd(1), id="a class that cannot be compared"),
    ],
)
def test_values_that_come_back(sent: Any) -> None:
    registry = _event(type(sent))
    known, body = encode(sent, STAMP, registry)
    found = Decoder("orders", (known,), registry).decode(body).event
    assert vars(found) == vars(sent)


@dataclasses.dataclass
class Shelf(Generic[T, U]):
    first: T
    rest: list[T | None]
    named: dict[str, U]
    page: Page[T]
    pair: tuple[int, T] = (1, None)  # type: ignore[assignment]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(Page(Inner(1.5)), id="a Struct of a Struct"),
        pytest.param(Page([Line(1.5), None]), id="of a list"),
        pytest.param(Page({"a": (Line(1.5), 1)}), id="of a mapping with a tuple"),
        pytest.param(Page(Page({Colour.RED})), id="of another generic one"),
        pytest.param(
            Shelf(Line(1.5), [None, Line(2.0)], {"a": NOW}, Page(Line(3.0)), (1, Line(4.0))),
            id="a dataclass of two type variables",
        ),
        pytest.param(Shelf(None, [], {}, Page(None)), id="without values"),
    ],
)
def test_a_generic_event_is_read_back_with_the_types_of_its_values(sent: Any) -> None:
    registry = _event(type(sent))
    _, body = encode(sent, STAMP, registry)
    known = dataclasses.replace(registry.of(type(sent)), model=with_arguments(type(sent), sent))
    assert Decoder("orders", (known,), registry).decode(body).event == sent


def test_what_a_generic_event_cannot_be_read_back_from_names_its_field() -> None:
    with pytest.raises(EncodeError, match=r"^order.sent.v1: field item.amount: JSON has no nan"):
        encode(Page(Line(math.nan)), STAMP, _event(Page))


def test_a_dict_is_only_published_with_its_class() -> None:
    registry = _event(Keyed)
    with pytest.raises(EncodeError, match=r"a dict is not an event.* Typed\(YourTypedDict, …\)"):
        encode({"the-key": 1.5}, STAMP, registry)
    known, body = encode(Typed(Keyed, {"the-key": 1.5}), STAMP, registry)
    assert Decoder("orders", (known,), registry).decode(body).event == {"the-key": 1.5}
    with pytest.raises(EncodeError, match="field the-key: a reader would not get it"):
        encode(Typed(Keyed, {"the-key": "1.5"}), STAMP, registry)
    with pytest.raises(EncodeError, match=r"cannot publish: builtins\.int is not an event"):
        encode(Typed(int, 1), STAMP, registry)


def test_a_class_without_equality_is_compared_by_its_fields() -> None:
    registry = _event(Incomparable)
    known, body = encode(Incomparable([Line(1.5)]), STAMP, registry)
    assert Decoder("orders", (known,), registry).decode(body).event.lines == [Line(1.5)]
    with pytest.raises(EncodeError, match=r"field lines\[0\]\.amount"):
        encode(Incomparable([Line(math.nan)]), STAMP, registry)


LONE = "\ud800"
LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("sent", "field", "reason"),
    [
        pytest.param(Basket([Line(math.nan)]), "lines[0].amount", "JSON has no nan", id="NaN"),
        pytest.param(Basket([], {"a": [-math.inf]}), "more['a'][0]", "JSON has no -inf", id="infinity"),
        pytest.param(
            Basket([Line(1, 2**64)]), "lines[0].count", "exceeds 64-bit range", id="a large integer"
        ),
        pytest.param(Basket([], {2**70: 1}), f"more[{2**70}]", "exceeds 64-bit range", id="a large key"),
        pytest.param(Basket([], LONE), "more", "a lone surrogate at character 0", id="a lone surrogate"),
        pytest.param(Basket([], {1}), "more", "a reader would get [1] for {1}", id="a set in a free field"),
        pytest.param(
            Basket([], (1,)), "more", "a reader would get [1] for (1,)", id="a tuple in a free field"
        ),
        pytest.param(Basket([], 1j), "more", "1j cannot be written as JSON", id="a complex number"),
        pytest.param(Basket([], LOOP), "more", "nested too deeply", id="a list in itself"),
        pytest.param(
            Basket([Gift(1.0)]), "lines[0]", "a reader would get Line(", id="an instance of a subclass"
        ),
        pytest.param(
            Basket(["x"]),  # type: ignore[list-item]
            "lines[0]",
            "a reader would not get it: Expected `object`, got `str`",
            id="a value of another type",
        ),
        pytest.param(
            OneWay.model_validate({"orderId": "o-1"}),
            "orderId",
            "Field required",
            id="an alias for writing only",
        ),
        pytest.param(Hidden(secret="s"), "secret", "a reader would get '' for 's'", id="an excluded field"),
        pytest.param(Raw(raw=b"\xff"), "raw", 'set ser_json_bytes="base64"', id="bytes that are not UTF-8"),
    ],
)
def test_a_value_that_does_not_come_back_is_refused(sent: Any, field: str, reason: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(sent, STAMP, _event(type(sent)))
    assert str(caught.value).startswith(f"order.sent.v1: field {field}")
    assert reason in str(caught.value)


def test_an_upcaster_changes_no_number_that_it_does_not_touch() -> None:
    @dataclasses.dataclass
    class Paid:
        amount: decimal.Decimal
        note: str

    registry = EventRegistry()
    known = EventType("order.paid", 2, "orders", Paid)
    registry.add(known)
    registry.add_upcaster("order.paid", 1, lambda data: {**data, "note": ""})
    data = b'{"amount": 12345678901234567.89}'
    body = b'{"specversion":"1.0","type":"order.paid.v1","source":"s","id":"1","data":%s}' % data
    found = Decoder("orders", (known,), registry).decode(body).event
    assert found == Paid(decimal.Decimal("12345678901234567.89"), "")


def test_an_upcaster_gets_numbers_that_it_can_compute_with() -> None:
    @dataclasses.dataclass
    class Weighed:
        grams: float

    registry = EventRegistry()
    known = EventType("order.weighed", 2, "orders", Weighed)
    registry.add(known)
    registry.add_upcaster("order.weighed", 1, lambda data: {"grams": data["kilograms"] * 1000.0})
    body = json.dumps(
        {
            "specversion": "1.0",
            "type": "order.weighed.v1",
            "source": "s",
            "id": "1",
            "data": {"kilograms": 0.5},
        }
    )
    assert Decoder("orders", (known,), registry).decode(body.encode()).event == Weighed(500.0)


def test_plain_bytes_come_back() -> None:
    known = EventType("photo.taken", 1, "photos", Raw, codec=BytesCodec(), is_enveloped=False)
    registry = EventRegistry()
    registry.add(known)
    _, body = encode(Raw(raw=b"\xff\xd8"), STAMP, registry)
    assert body == b"\xff\xd8"
    assert Decoder("photos", (known,), registry).decode(body).event == Raw(raw=b"\xff\xd8")
