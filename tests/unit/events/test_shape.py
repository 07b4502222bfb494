"""Shapes: names and values that differ in JSON are declared once, for reading and writing."""

import dataclasses
from typing import Any

import msgspec
import pydantic
import pytest
from typing_extensions import TypedDict

from nsqkit.errors import EventError
from nsqkit.events.shape import Shape
from nsqkit.events.types import event


@dataclasses.dataclass
class Plain:
    order_id: str


class Packed(msgspec.Struct):
    order_id: str


class Checked(pydantic.BaseModel):
    order_id: str


Keyed = TypedDict("Keyed", {"order-id": str})


@pytest.mark.parametrize(
    ("rename", "name", "expected"),
    [
        (None, "order_id", "order_id"),
        ("camel", "order_id", "orderId"),
        ("camel", "id", "id"),
        ("pascal", "order_id", "OrderId"),
        ("pascal", "id", "Id"),
        ("camel", "total_2_pay", "total2Pay"),
        ({"order_id": "OrderID"}, "order_id", "OrderID"),
        ({"order_id": "OrderID"}, "total", "total"),
    ],
)
def test_a_field_has_this_name_in_json(rename: Any, name: str, expected: str) -> None:
    assert Shape(rename).name_of(name) == expected


@pytest.mark.parametrize(
    ("model", "options", "problem"),
    [
        pytest.param(Packed, {"rename": "camel"}, 'class Packed(Struct, rename="camel")', id="a Struct"),
        pytest.param(Checked, {"rename": "camel"}, "alias_generator=to_camel", id="a pydantic model"),
        pytest.param(Checked, {"strict": False}, "which are lax", id="a pydantic model that should be lax"),
        pytest.param(Checked, {"decode": {int: int}}, "@field_validator", id="hooks for a pydantic model"),
        pytest.param(Keyed, {"rename": "camel"}, "not for a TypedDict", id="a TypedDict"),
        pytest.param(Plain, {"rename": "kebab"}, 'is not "camel", "pascal" or a mapping', id="no such style"),
        pytest.param(Plain, {"rename": {"order_id": 7}}, "must map names", id="a number as name"),
        pytest.param(Plain, {"strict": 0}, "strict=0 is not True or False", id="a number as switch"),
        pytest.param(Plain, {"decode": int}, "decode=<class 'int'> is not a mapping", id="one function"),
        pytest.param(Plain, {"encode": {"int": str}}, "encode has 'int'", id="the name of a type"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(
    model: type[Any], options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(EventError) as caught:
        event("test_shape.refused", version=1, **options)(model)
    assert problem in str(caught.value)
