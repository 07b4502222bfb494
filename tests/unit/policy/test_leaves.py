"""The errors inside exception groups."""

import pytest

from nsqkit.errors import BreakerOpenError
from nsqkit.policy.leaves import has, leaves, refused_for_s, type_name

A, B = ValueError("a"), KeyError("b")
OPEN, LONGER = BreakerOpenError("shop", 5.0), BreakerOpenError("bank", 7.0)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(A, (A,), id="a single error is its own leaf"),
        pytest.param(ExceptionGroup("g", [A, B]), (A, B), id="in their order"),
        pytest.param(ExceptionGroup("g", [ExceptionGroup("h", [B]), A]), (B, A), id="through nested groups"),
        pytest.param(BaseExceptionGroup("g", [A, SystemExit()]), (A, SystemExit), id="of any kind"),
    ],
)
def test_the_leaves_of_an_error(error: BaseException, expected: tuple[object, ...]) -> None:
    found = leaves(error)
    assert len(found) == len(expected)
    assert all(
        each is wanted or (isinstance(wanted, type) and isinstance(each, wanted))
        for each, wanted in zip(found, expected, strict=True)
    )


def test_a_group_has_its_own_type_and_those_of_its_leaves() -> None:
    group = ExceptionGroup("g", [A])
    assert has(group, ExceptionGroup)
    assert has(group, (OSError, ValueError))
    assert not has(group, KeyError)


def test_a_group_is_named_by_its_first_leaf() -> None:
    assert type_name(ExceptionGroup("g", [ExceptionGroup("h", [B]), A])) == "KeyError"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(None, None, id="no error"),
        pytest.param(A, None, id="another error"),
        pytest.param(OPEN, 5.0, id="a refusal"),
        pytest.param(ExceptionGroup("g", [OPEN, LONGER]), 7.0, id="the longest of several"),
        pytest.param(ExceptionGroup("g", [OPEN, A]), None, id="another error beside it"),
    ],
)
def test_how_long_breakers_refuse(error: BaseException | None, expected: float | None) -> None:
    assert refused_for_s(error) == expected
