"""Filters: what is written on a command line, as conditions."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nsqkit import SettingsError
from nsqkit.dead_letters.filters import FIELDS, Condition, moment
from nsqkit.dead_letters.parse import CollectedLetter

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("error=ValueError", Condition("error_type", "ValueError", True), id="whole"),
        pytest.param("detail~no answer", Condition("detail", "no answer", False), id="a part"),
        pytest.param("detail~a=b", Condition("detail", "a=b", False), id="a part with the other sign"),
        pytest.param("event=a~b", Condition("event_type", "a~b", True), id="whole with the other sign"),
        pytest.param("reason=", Condition("reason", "", True), id="not known"),
        pytest.param("detail=two\nlines", Condition("detail", "two\nlines", True), id="over two lines"),
    ],
)
def test_a_condition(text: str, expected: Condition) -> None:
    assert Condition.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("error", "FIELD=VALUE, or FIELD~TEXT", id="no relation"),
        pytest.param("=x", "FIELD=VALUE", id="no field"),
        pytest.param("eror=x", "no 'eror'; did you mean 'error'", id="misspelt"),
        pytest.param("colour=x", "no 'colour'; there are error, reason, topic", id="something else"),
    ],
)
def test_what_is_no_condition_is_told(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Condition.parse(text)


def test_every_field_is_one_that_dead_letters_have() -> None:
    assert set(FIELDS.values()) <= set(CollectedLetter.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", "2026-01-31T10:58:30.000000Z", id="seconds ago"),
        pytest.param("30m", "2026-01-31T10:30:00.000000Z", id="minutes ago"),
        pytest.param("2h", "2026-01-31T09:00:00.000000Z", id="hours ago"),
        pytest.param("1.5d", "2026-01-29T23:00:00.000000Z", id="days ago"),
        pytest.param("1w", "2026-01-24T11:00:00.000000Z", id="weeks ago"),
        pytest.param("2026-01-31T09:30:00Z", "2026-01-31T09:30:00.000000Z", id="a time in UTC"),
        pytest.param("2026-01-31T09:30:00+02:00", "2026-01-31T07:30:00.000000Z", id="a time elsewhere"),
    ],
)
def test_a_point_in_time(text: str, expected: str) -> None:
    assert moment("--since", text, NOW) == expected


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2026, 1, 31).astimezone(UTC)
    assert moment("--since", "2026-01-31", NOW) == f"{local:%Y-%m-%dT%H:%M:%S}.000000Z"


@pytest.mark.parametrize(
    "text", ["", "2", "2y", "-2h", "h", "yesterday", "999999w", "0001-01-01T00:00:00+14:00"]
)
def test_what_is_no_time_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--since .*: give an age such as"):
        moment("--since", text, NOW)
