"""The books notice each effect that is missing, happened twice, or belongs to nothing."""

from collections import Counter
from typing import Any

import pytest

from tests.chaos.effects.books import Books, Finding, finding, strangers

GOOD, LATE = "saga-called-1", "saga-called-0-late"


def books(**changed: Any) -> Books:
    """Return the books of an order that was completed and of one that was compensated, with some changed."""
    right: dict[str, Any] = {
        "requests": [GOOD, LATE],
        "accepted": Counter((GOOD, LATE)),
        "stock": {GOOD: [1], LATE: [1, -1]},
        "sagas": {GOOD: "completed", LATE: "compensated"},
        "calls": {GOOD: ["key"]},
    }
    return Books(**right | changed)


def test_orders_with_every_effect_once_are_right() -> None:
    found = finding(books(), "saga-called", kills=3)
    assert found == Finding("saga-called", 3, 2, completed=1, compensated=1, lost=(), twice=())
    assert found.is_right


@pytest.mark.parametrize(
    ("changed", "lost", "twice"),
    [
        pytest.param({"accepted": Counter((LATE,))}, (GOOD,), (), id="an event never handled"),
        pytest.param({"accepted": Counter((GOOD, GOOD, LATE))}, (), (GOOD,), id="an event handled twice"),
        pytest.param({"stock": {LATE: [1, -1]}}, (GOOD,), (), id="a command never handled"),
        pytest.param({"stock": {GOOD: [1, 1], LATE: [1, -1]}}, (), (GOOD,), id="a command handled twice"),
        pytest.param({"stock": {GOOD: [1], LATE: [1]}}, (LATE,), (), id="a step never undone"),
        pytest.param({"stock": {GOOD: [1], LATE: [1, -1, -1]}}, (), (LATE,), id="a step undone twice"),
        pytest.param({"stock": {GOOD: [1, -1], LATE: [1, -1]}}, (), (GOOD,), id="a step undone for nothing"),
        pytest.param({"calls": {}}, (GOOD,), (), id="a call never made"),
        pytest.param({"calls": {GOOD: ["key", "other"]}}, (), (GOOD,), id="a call under two keys"),
        pytest.param({"calls": {GOOD: ["key"], LATE: ["key"]}}, (), (LATE,), id="a call that was refused"),
        pytest.param({"sagas": {LATE: "compensated"}}, (GOOD,), (), id="a saga never started"),
        pytest.param(
            {"sagas": {GOOD: "running", LATE: "compensated"}}, (GOOD,), (), id="a saga that stopped"
        ),
    ],
)
def test_an_effect_that_is_missing_or_happened_twice_is_found(
    changed: dict[str, Any], lost: tuple[str, ...], twice: tuple[str, ...]
) -> None:
    found = finding(books(**changed), "saga-called", kills=1)
    assert (found.lost, found.twice) == (lost, twice)
    assert not found.is_right


def test_a_call_made_again_under_its_key_is_one_effect() -> None:
    assert finding(books(calls={GOOD: ["key", "key"]}), "saga-called", kills=1).is_right


def test_effects_without_a_request_are_found() -> None:
    assert strangers(books()) == set()
    assert strangers(books(requests=[LATE])) == {GOOD}
