"""The reference is what the source says, and says something about all that a team can use."""

import re
from pathlib import Path

import pytest

import nsqkit
from tests.reference.docstrings import parsed
from tests.reference.log_events import log_events, message_fields
from tests.reference.meanings import BOUND_FIELDS, FIELDS, LOG_EVENTS
from tests.reference.page import page
from tests.reference.signatures import type_text, value_text

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_reference_is_what_the_source_says() -> None:
    """Run `scripts/reference` when this fails."""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_public_name_is_in_the_reference() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = set(nsqkit.__all__) - {"__version__"}
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_every_log_event_has_a_meaning_and_every_meaning_an_event() -> None:
    """Write it into tests/reference/meanings.py."""
    assert {event.name for event in log_events()} == set(LOG_EVENTS)


def test_every_field_of_a_log_event_has_a_meaning_and_every_meaning_a_field() -> None:
    """Write it into tests/reference/meanings.py."""
    used = {*BOUND_FIELDS, *message_fields(), *(name for event in log_events() for name in event.fields)}
    assert used - {"exc_info"} == set(FIELDS)


def test_an_event_whose_logger_is_chosen_first_is_found_with_its_level() -> None:
    found = {event.name: event for event in log_events()}
    assert found["message_settled"].levels == ("info", "warning")
    assert found["nsqd_refused"].levels == ("error",)
    assert "retry_in_s" in found["nsqd_unreachable"].fields


def test_a_docstring_is_taken_apart_by_its_sections() -> None:
    found = parsed(
        "Do ``this``, see :meth:`that`.\n\nMore.\n\n"
        "Args:\n    one: The first,\n        of two.\n    two: Last.\n\n"
        "Returns:\n    Something\n    long.\n\nRaises:\n    ValueError: If not.\n",
    )
    assert found.summary == "Do `this`, see `that`."
    assert found.of("Args") == {"one": "The first, of two.", "two": "Last."}
    assert found.of("Raises") == {"ValueError": "If not."}
    assert found.returns == "Something long."


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        pytest.param(int | None, "int | None", id="a union"),
        pytest.param(tuple[type[Exception], ...], "tuple[type[Exception], ...]", id="a tuple of any length"),
        pytest.param(nsqkit.Outcome, "Finish | Requeue | DeadLetter | Discard | Pause", id="no modules"),
    ],
)
def test_a_type_is_written_as_in_the_source(annotation: object, text: str) -> None:
    assert type_text(annotation) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param((Exception,), "(Exception,)", id="a tuple of one"),
        pytest.param("", '""', id="an empty text"),
        pytest.param(nsqkit.Exponential(), "Exponential()", id="a policy"),
    ],
)
def test_a_default_is_written_as_in_the_source(value: object, text: str) -> None:
    assert value_text(value) == text
