"""The errors inside exception groups."""

import pytest

from nsqkit.errors import BreakerOpenError
from nsqkit.policy.leaves import has, late_failures, leaves, mark_late, refused_by, refused_for_s, type_name

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


class SlottedError(Exception):
    """Takes no attributes, as some classes of C extensions do."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def late(dependency: str) -> Exception:
    error = ConnectionError("down")
    mark_late(error, dependency)
    return error


def chained(error: Exception, *, cause: bool) -> Exception:
    """Return an error that was raised from another, or while that was handled."""
    outer = ValueError("order failed")
    outer.__cause__, outer.__context__ = error if cause else None, error
    return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(ConnectionError("down"), set(), id="an ordinary failure is none"),
        pytest.param(late("shop"), {"shop"}, id="one that came after the breaker had opened"),
        pytest.param(chained(late("shop"), cause=True), {"shop"}, id="raised anew from it"),
        pytest.param(chained(late("shop"), cause=False), {"shop"}, id="or while it was handled"),
        pytest.param(
            ExceptionGroup("g", [late("shop"), chained(late("bank"), cause=True), ValueError()]),
            {"shop", "bank"},
            id="in a group, each",
        ),
        pytest.param(BreakerOpenError("shop", 1.0), set(), id="a refused call has not failed"),
    ],
)
def test_late_failures_are_found_behind_an_error(error: BaseException, expected: set[str]) -> None:
    assert late_failures(error) == expected


def test_a_circle_of_causes_ends() -> None:
    first, second = late("shop"), ValueError("x")
    first.__cause__, second.__cause__ = second, first
    assert late_failures(second) == {"shop"}


def test_an_error_that_takes_no_attribute_is_an_ordinary_one() -> None:
    error = SlottedError()
    mark_late(error, "shop")
    assert late_failures(error) == set()


def test_refusals_are_found_in_a_group() -> None:
    group = ExceptionGroup("g", [BreakerOpenError("shop", 1.0), ValueError(), BreakerOpenError("bank", 2.0)])
    assert refused_by(group) == {"shop", "bank"}
