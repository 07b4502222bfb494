"""The page of the promises is of these tests, and no promise is without a test on every engine."""

from pathlib import Path

from tests.contract.promises import ENGINES, HEAD, PROMISES, marked, missing

PAGE = (Path(__file__).parents[2] / "docs" / "delivery.md").read_text(encoding="utf-8")
LINES = [tuple(line.strip("| ").split(" | ")) for line in PAGE.splitlines() if line.startswith("| ")]


def test_docs_delivery_has_every_promise_and_no_other() -> None:
    assert PAGE.startswith(HEAD)
    assert [line[:2] for line in LINES[1:]] == list(PROMISES.values())


def test_every_promise_is_proven_on_every_engine() -> None:
    assert LINES[0][2:] == tuple(ENGINES.values())
    assert missing(LINES) == []


def test_docs_delivery_names_the_tests_that_are_marked_and_no_other() -> None:
    """Run scripts/contract after marking, renaming or removing one."""
    here = {
        (promise, f"{module}.py::{name}")
        for module, found in marked().items()
        for name, promises in found.items()
        for promise in promises
    }
    told = {
        (promise, test.strip("`"))
        for promise, line in zip(PROMISES, LINES[1:], strict=True)
        for cell in line[2:]
        for test in cell.split()
    }
    assert told == here


def test_only_promises_that_there_are_can_be_marked() -> None:
    assert {
        promise for found in marked().values() for each in found.values() for promise in each
    } <= PROMISES.keys()
