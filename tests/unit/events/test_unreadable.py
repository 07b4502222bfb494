"""Unreadable: the error for an annotation that cannot be read says what to change."""

import typing
from typing import TYPE_CHECKING, Any

import pytest

from nsqkit.events.unreadable import unreadable

if TYPE_CHECKING:
    from decimal import Decimal


def _price(price: "Decimal") -> None: ...


def _nowhere(price: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821 - that is the mistake


def _broken(price: "1 +") -> None: ...  # type: ignore[valid-type]  # noqa: F722 - that is the mistake


def _reason(function: Any, module: str) -> str:
    with pytest.raises((NameError, SyntaxError)) as caught:
        typing.get_type_hints(function)
    return unreadable(caught.value, module)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        pytest.param(
            _price,
            f"Decimal is only imported under TYPE_CHECKING; move the import at {__file__}:11 out of it",
            id="an import for type checkers",
        ),
        pytest.param(
            _nowhere,
            f"name 'Nowhere' is not defined; define or import it in {__name__}",
            id="a name that does not exist",
        ),
        pytest.param(
            _broken, "SyntaxError: Forward reference must be an expression -- got '1 +'", id="no expression"
        ),
    ],
)
def test_the_reason_names_what_to_change(function: Any, reason: str) -> None:
    assert _reason(function, __name__) == f"its annotations cannot be read: {reason}"


def test_a_module_without_source_names_the_missing_name_only() -> None:
    assert _reason(_price, "no_such_module").endswith(
        "name 'Decimal' is not defined; define or import it in no_such_module"
    )
