"""Soundness: what an annotation says is enforced, or the event is refused before messages come."""

import dataclasses
from typing import Annotated, Any, Literal, NewType

import annotated_types
import msgspec
import pydantic
import pytest
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from nsqkit.errors import DecodeError
from nsqkit.events.codec.binary import BytesCodec
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.soundness import problems_of
from nsqkit.events.shape import Shape
from nsqkit.events.types import EventType

Positive = Annotated[int, annotated_types.Gt(0)]


class Money:
    """A class of no kind."""


@dataclasses.dataclass
class Constrained:
    cents: Positive


class ConstrainedStruct(msgspec.Struct):
    names: list[Annotated[str, pydantic.Field(min_length=1)]]


@dataclasses.dataclass
class WithDefault:
    cents: int = pydantic.Field(default=1, gt=0)


@dataclasses.dataclass
class Nested:
    inner: dict[str, Constrained] | None


class Meant(pydantic.BaseModel):
    cents: Annotated[int, msgspec.Meta(gt=0)]


class InsideOfPydantic(pydantic.BaseModel):
    inner: Constrained


@dataclasses.dataclass
class Priced:
    price: list[Money]


class Checked(pydantic.BaseModel):
    cents: int


@dataclasses.dataclass
class HasChecked:
    inner: Checked


@dataclasses.dataclass
class Forward:
    inner: "Missing"  # type: ignore[name-defined]  # noqa: F821 - as with an import for type checkers only


@dataclasses.dataclass
class Mixed:
    inner: Constrained | Priced


class Row(TypedDict):
    price: Money


@dataclasses.dataclass
class HasRow:
    row: Row


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        pytest.param(Constrained, "field cents: Constrained does not enforce Gt(gt=0)", id="a dataclass"),
        pytest.param(ConstrainedStruct, "field names: ConstrainedStruct does not", id="an item in a Struct"),
        pytest.param(WithDefault, "field cents: WithDefault does not enforce", id="a default of pydantic"),
        pytest.param(Nested, "field inner.cents: Constrained does not enforce", id="a class inside"),
        pytest.param(Meant, "field cents: Meant does not enforce", id="a rule of msgspec in pydantic"),
        pytest.param(Priced, "field price: nothing can decode Money; make it a dataclass", id="no kind"),
        pytest.param(HasRow, "field row.price: nothing can decode Money", id="no kind in a TypedDict"),
        pytest.param(
            HasChecked, "field inner: nothing can decode Checked; make HasChecked", id="pydantic inside"
        ),
        pytest.param(Forward, "its annotations cannot be read: name 'Missing' is not defined", id="no name"),
        pytest.param(Mixed, "it cannot be decoded: Type unions may not contain more than one", id="a union"),
    ],
)
def test_what_cannot_hold_is_named(model: type[Any], problem: str) -> None:
    found = problems_of(EventType("test_soundness", 1, None, model), None)
    assert [each for each in found if problem in each] == found != []


Cents = NewType("Cents", int)


class Limited(msgspec.Struct):
    cents: Annotated[int, msgspec.Meta(gt=0)]


@dataclasses.dataclass
class Fine:
    cents: Annotated[Cents, "in euros"]
    limited: Limited
    kind: Literal["a", "b"]
    tree: list["Fine"]
    free: Any


class Enforcing(pydantic.BaseModel):
    cents: Positive
    more: list[Positive]


@pytest.mark.parametrize("model", [Limited, Fine, Enforcing, Checked, InsideOfPydantic])
def test_what_holds_is_no_problem(model: type[Any]) -> None:
    assert problems_of(EventType("test_soundness", 1, None, model), None) == []


def test_a_hook_decodes_what_nothing_else_can() -> None:
    shape = Shape(decode={Money: lambda _: Money()})
    known = EventType("test_soundness", 1, None, Priced, shape=shape)
    assert problems_of(known, None) == []
    assert isinstance(Decoder("test", (known,)).decode(b'{"price": [1]}').event.price[0], Money)


def test_a_codec_that_reads_no_fields_is_not_asked() -> None:
    assert problems_of(EventType("test_soundness", 1, None, Constrained), BytesCodec()) == []


@pydantic_dataclass
class Ruled:
    cents: Positive

    @pydantic.field_validator("cents")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("cents are even")
        return value


@pytest.mark.parametrize(("cents", "reason"), [(-2, "greater than 0"), (3, "cents are even")])
def test_a_pydantic_dataclass_is_validated(cents: int, reason: str) -> None:
    decoder = Decoder("test", (EventType("test_soundness", 1, None, Ruled),))
    with pytest.raises(DecodeError, match=reason) as caught:
        decoder.decode(b'{"cents": %d}' % cents)
    assert caught.value.path == "$.cents"
    assert decoder.decode(b'{"cents": 2}').event == Ruled(2)
