"""Arguments of policies: what is refused, and that the text names owner, field and value."""

import math
from typing import Any

import pytest

from nsqkit.policy.argument import require_errors, require_number, require_whole


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        pytest.param(-1e300, {}, id="any number without limits"),
        pytest.param(0.1, {"above": 0.0}, id="just above"),
        pytest.param(1, {"least": 1.0}, id="the least"),
        pytest.param(2.0, {"most": 2.0}, id="the most"),
        pytest.param(math.inf, {"above": 0.0}, id="infinity is above everything"),
        pytest.param(3, {"above": 2, "least": 3, "most": 3}, id="within all three"),
    ],
)
def test_a_number_in_its_range_is_accepted(value: float, limits: dict[str, float]) -> None:
    require_number("Policy", "x_s", value, **limits)


@pytest.mark.parametrize(
    ("value", "limits", "error", "problem"),
    [
        pytest.param(0, {"above": 0.0}, ValueError, "must be above 0", id="not above"),
        pytest.param(math.nan, {"above": 0.0}, ValueError, "must be above 0", id="nan is above nothing"),
        pytest.param(0.5, {"least": 1}, ValueError, "must be 1 or more", id="too little"),
        pytest.param(math.nan, {"least": 1}, ValueError, "must be 1 or more", id="nan is not the least"),
        pytest.param(2.5, {"most": 2}, ValueError, "must be 2 or less", id="too much"),
        pytest.param(math.nan, {"most": 2}, ValueError, "must be 2 or less", id="nan is not the most"),
        pytest.param("1", {}, TypeError, "give a number", id="a text"),
        pytest.param(True, {}, TypeError, "give a number", id="a boolean"),
        pytest.param(None, {}, TypeError, "give a number", id="nothing"),
    ],
)
def test_other_numbers_are_refused_by_name(
    value: object, limits: dict[str, float], error: type[Exception], problem: str
) -> None:
    with pytest.raises(error) as caught:
        require_number("Policy", "x_s", value, **limits)
    assert str(caught.value) == f"Policy(x_s={value!r}): {problem}"


@pytest.mark.parametrize("value", [1, 5, 9])
def test_a_whole_number_in_its_range_is_accepted(value: int) -> None:
    require_whole("Policy", "n", value, 1, 9)


@pytest.mark.parametrize(
    ("value", "error", "problem"),
    [
        pytest.param(0, ValueError, "not in 1..9", id="too little"),
        pytest.param(10, ValueError, "not in 1..9", id="too much"),
        pytest.param(2.0, TypeError, "give a whole number", id="a fraction"),
        pytest.param(True, TypeError, "give a whole number", id="a boolean"),
        pytest.param("2", TypeError, "give a whole number", id="a text"),
    ],
)
def test_other_whole_numbers_are_refused_by_name(value: object, error: type[Exception], problem: str) -> None:
    with pytest.raises(error) as caught:
        require_whole("Policy", "n", value, 1, 9)
    assert str(caught.value) == f"Policy(n={value!r}): {problem}"


@pytest.mark.parametrize("value", [(), (ValueError,), (ValueError, OSError)])
def test_exception_types_are_accepted(value: tuple[type[Exception], ...]) -> None:
    require_errors("Policy", "on", value)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        pytest.param(
            ValueError,
            "Policy(on=<class 'ValueError'>): give a tuple of exception types, (SomeError,)",
            id="one type without a tuple",
        ),
        pytest.param(
            [ValueError],
            "Policy(on=[<class 'ValueError'>]): give a tuple of exception types, (SomeError,)",
            id="a list",
        ),
        pytest.param(
            (OSError, "ValueError"), "Policy(on=…): 'ValueError' is not an exception class", id="a name"
        ),
        pytest.param((int,), "Policy(on=…): <class 'int'> is not an exception class", id="another class"),
        pytest.param(
            (KeyboardInterrupt,),
            "Policy(on=…): <class 'KeyboardInterrupt'> is not an exception class",
            id="an exception that stops the process",
        ),
    ],
)
def test_what_is_no_tuple_of_exception_types_is_refused(value: Any, problem: str) -> None:
    with pytest.raises(TypeError) as caught:
        require_errors("Policy", "on", value)
    assert str(caught.value) == problem
