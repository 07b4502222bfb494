"""Defaults: a value is published the same, whether it was made or decoded; other classes cost nothing."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Generic, NamedTuple, NewType, Optional, TypeVar

import attrs
import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from nsqkit.events.codec.binary import MsgpackCodec
from nsqkit.events.codec.codecs import JsonCodec
from nsqkit.events.codec.compressed import GzipCodec
from nsqkit.events.codec.defaults import completer
from nsqkit.events.codec.encoder import encode
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.stamp import Stamp
from nsqkit.events.typed import Typed
from nsqkit.events.types import EventRegistry, EventType

STAMP = Stamp(source="shop", event_id="e-1", time="2024-05-01T10:00:00Z")
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Line:
    product: str
    pieces: int = 1
    note: str | None = None


def sparse(kind: Any = Line, body: bytes = b'{"product":"tea"}') -> Any:
    """Decode a value whose JSON lacks what has a default."""
    return msgspec.json.decode(body, type=kind)


@dataclasses.dataclass
class Lines:
    lines: list[Line]


class Tree(msgspec.Struct):
    line: Line
    below: "list[Tree]" = []


@attrs.define
class Basket:
    by_shelf: dict[str, tuple[Line, ...]]


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    line: Line | None = None


class Pair(NamedTuple):
    first: Line
    second: int = 2


class Row(TypedDict):
    line: Line


@dataclasses.dataclass
class Page(Generic[T]):
    items: list[T]


@dataclasses.dataclass
class Pages:
    page: Page[Line]


Stock = NewType("Stock", Line)


@dataclasses.dataclass
class Mixed:
    found: Annotated[Stock, "in stock"]
    perhaps: Optional[frozenset[Line]]  # noqa: UP045 - the form of older code
    either: int | Pair


class Model(pydantic.BaseModel):
    line: Line


PLACES: dict[str, Callable[[Any], Any]] = {
    "the event": lambda line: line,
    "an item of a list": lambda line: Lines([line, line]),
    "a field of a Struct, nested": lambda line: Tree(line, [Tree(line)]),
    "a value of a mapping, in a tuple": lambda line: Basket({"a": (line,)}),
    "an optional field of a class with slots": Slotted,
    "a TypedDict": lambda line: Typed(Row, {"line": line}),
    "the argument of a generic class": lambda line: Page([line]),
    "a field of a generic class with arguments": lambda line: Pages(Page([line])),
    "NewType, Annotated, a set, a NamedTuple": lambda line: Mixed(Stock(line), frozenset({line}), Pair(line)),
    "a pydantic model": lambda line: Model(line=line),
}
CODECS = [None, JsonCodec(), MsgpackCodec(), GzipCodec(JsonCodec())]


def written(event: Any, codec: Codec | None = None) -> bytes:
    registry = EventRegistry()
    kind = event.event_class if isinstance(event, Typed) else type(event)
    registry.add(EventType("line.sold", 1, "lines", kind, codec=codec))
    return encode(event, STAMP, registry)[1]


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: type(codec).__name__)
@pytest.mark.parametrize("place", PLACES)
def test_a_decoded_value_is_published_as_one_that_was_made(place: str, codec: Codec | None) -> None:
    put = PLACES[place]
    assert written(put(sparse()), codec) == written(put(Line("tea")), codec)


def test_a_value_that_lacks_nothing_is_published_as_it_is() -> None:
    line = sparse(body=b'{"product":"tea","pieces":3,"note":"green"}')
    assert written(line) == written(Line("tea", 3, "green"))


class Celsius:
    """A descriptor as the default of a field: it keeps the value under another name."""

    def __get__(self, owner: Any, _kind: Any) -> float:
        return 20.0 if owner is None else float(vars(owner)["_degrees"])

    def __set__(self, owner: Any, value: float) -> None:
        vars(owner)["_degrees"] = value


@dataclasses.dataclass
class Weather:
    degrees: float = Celsius()  # type: ignore[assignment]


@dataclasses.dataclass(slots=True)
class SlottedLine:
    product: str
    pieces: int = 1


@dataclasses.dataclass
class Factory:
    lines: list[int] = dataclasses.field(default_factory=list)
    count: int = dataclasses.field(default=0, init=False)


@attrs.define(slots=False)
class AttrsLine:
    product: str
    pieces: int = 1


class StructLine(msgspec.Struct):
    product: str
    pieces: int = 1
    tags: list[Any] = []


@pydantic_dataclass
class CheckedLine:
    product: str
    pieces: int = 1


class ModelLine(pydantic.BaseModel):
    product: str
    pieces: int = 1


@dataclasses.dataclass
class Unresolved:
    line: "Unknown"  # type: ignore[name-defined] # noqa: F821 - imported for type checkers only


class Chain(msgspec.Struct):
    name: str = ""
    below: "list[Chain]" = []


@pytest.mark.parametrize("kind", [AttrsLine, StructLine, SlottedLine, CheckedLine, ModelLine])
def test_other_classes_have_their_defaults_after_decoding(kind: Any) -> None:
    validate = getattr(kind, "__pydantic_validator__", None)
    body = b'{"product":"tea"}'
    decoded = validate.validate_json(body) if validate else sparse(kind, body)
    assert written(decoded) == written(kind(product="tea"))


@pytest.mark.parametrize(
    "kind",
    [
        SlottedLine,
        Factory,
        AttrsLine,
        StructLine,
        CheckedLine,
        ModelLine,
        Model,
        pytest.param(Weather, id="a descriptor as the default"),
        pytest.param(Chain, id="a class that contains itself"),
        pytest.param(Unresolved, id="an annotation that cannot be read"),
    ],
)
def test_events_of_other_classes_are_not_looked_at(kind: Any) -> None:
    assert completer(kind) is None


def test_an_event_is_completed_in_place() -> None:
    complete = completer(Lines)
    assert complete is not None
    event = Lines([sparse()])
    assert complete(event) is event
    assert vars(event.lines[0]) == vars(Line("tea"))
