"""Generics: type variables are what the values of an instance are."""

import dataclasses
from typing import Any, Generic, TypeVar

import pytest

from nsqkit.events.codec.generics import with_arguments

T = TypeVar("T")
U = TypeVar("U")


@dataclasses.dataclass
class Box(Generic[T]):
    item: T


@dataclasses.dataclass
class Crate(Generic[T, U]):
    items: list[T] | None = None
    named: dict[str, U] | None = None
    pair: tuple[T, U] | None = None
    box: Box[U] | None = None
    label: str = ""


@pytest.mark.parametrize(
    ("event", "model"),
    [
        pytest.param(Box(1), Box[int], id="a value"),
        pytest.param(Box([1, None]), Box[list[int | None]], id="the items of a list"),
        pytest.param(Box({"a": (1, "b")}), Box[dict[str, tuple[int, str]]], id="the items of a mapping"),
        pytest.param(Box(Box("a")), Box[Box[str]], id="a generic value"),
        pytest.param(Box([]), Box[list[Any]], id="an empty list"),
        pytest.param(Crate(), Crate[Any, Any], id="no values"),
        pytest.param(Crate([1, 2]), Crate[int, Any], id="one of two"),
        pytest.param(Crate(named={"a": "b"}, pair=(1, "c")), Crate[int, str], id="keys and places"),
        pytest.param(Crate(box=Box(True)), Crate[Any, bool], id="a generic class inside"),
    ],
)
def test_a_type_variable_is_what_its_values_are(event: Any, model: Any) -> None:
    assert with_arguments(type(event), event) == model
