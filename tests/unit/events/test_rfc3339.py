"""RFC 3339: every time is written in one form, whatever it was read from."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from nsqkit.events.rfc3339 import from_datetime, from_ns, normalized


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        pytest.param(1_700_000_000_000_000_000, "2023-11-14T22:13:20.000000Z", id="in UTC"),
        pytest.param(0, "1970-01-01T00:00:00.000000Z", id="from 1970"),
        pytest.param(2**63 - 1, "2262-04-11T23:47:16.854776Z", id="the largest that the wire can say"),
        pytest.param(-(2**63), "1677-09-21T00:12:43.145224Z", id="the smallest that the wire can say"),
        pytest.param(10**30, "", id="nothing where there is no such date"),
    ],
)
def test_an_instant_is_rfc_3339(time_ns: int, expected: str) -> None:
    assert from_ns(time_ns) == expected


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        pytest.param(1_714_557_600_000_001_499, "2024-05-01T10:00:00.000001Z", id="down"),
        pytest.param(1_714_557_600_000_001_500, "2024-05-01T10:00:00.000002Z", id="up"),
        pytest.param(1_714_557_599_999_999_999, "2024-05-01T10:00:00.000000Z", id="into the next second"),
    ],
)
def test_nanoseconds_are_rounded_to_the_nearest_microsecond(time_ns: int, expected: str) -> None:
    assert from_ns(time_ns) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-01-01T02:05:00+02:00", "2026-01-01T00:05:00.000000Z", id="another zone"),
        pytest.param("2026-01-01T00:05:00Z", "2026-01-01T00:05:00.000000Z", id="no fraction"),
        pytest.param("2026-01-01T00:05:00.25Z", "2026-01-01T00:05:00.250000Z", id="a short fraction"),
        pytest.param("2026-01-01T00:05:00.000001Z", "2026-01-01T00:05:00.000001Z", id="the form itself"),
    ],
)
def test_a_text_is_brought_into_the_same_form(text: str, expected: str) -> None:
    assert normalized(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"isoformat|out of range"):
        normalized(text)


def test_a_time_without_a_zone_is_local() -> None:
    local = datetime(2026, 1, 31).astimezone(UTC)
    assert normalized("2026-01-31") == f"{local:%Y-%m-%dT%H:%M:%S}.000000Z"


def test_a_moment_in_another_zone_is_written_in_utc() -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 5, timezone(timedelta(hours=1)))
    assert from_datetime(moment) == "2026-01-31T11:00:00.000005Z"
