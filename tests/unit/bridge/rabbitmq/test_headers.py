from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.bridge.rabbitmq.headers import headers_of, table_of
from nsqkit.bridge.record import Headers
from nsqkit.errors import RecordRefusedError

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("grün", "grün".encode(), id="text"),
        pytest.param(bytearray(b"\xff\x00"), b"\xff\x00", id="a byte array"),
        pytest.param(b"\xff", b"\xff", id="text that is not UTF-8"),
        pytest.param(7, b"7", id="a number"),
        pytest.param(2.5, b"2.5", id="a float"),
        pytest.param(Decimal("1.10"), b"1.10", id="a decimal"),
        pytest.param(True, b"true", id="a boolean, as in JSON"),
        pytest.param(None, b"", id="no value"),
        pytest.param(NOON, b"2026-11-30T12:00:00+00:00", id="a time"),
        pytest.param(["a", NOON, None], b'["a","2026-11-30T12:00:00+00:00",null]', id="an array"),
        pytest.param({"count": 1, "raw": bytearray(b"x")}, b'{"count":1,"raw":"x"}', id="a table"),
    ],
)
def test_a_value_of_any_type_becomes_text(value: Any, text: bytes) -> None:
    assert headers_of({"name": value}) == (("name", text),)


def test_a_message_can_have_no_headers() -> None:
    assert headers_of(None) == ()
    assert table_of(()) == {}


@pytest.mark.parametrize("name", ["cloudEvents:id", "cloudEvents_id", "traceparent"])
def test_names_of_cloudevents_pass_unchanged(name: str) -> None:
    assert headers_of({name: "7"}) == ((name, b"7"),)
    assert table_of(((name, b"7"),)) == {name: "7"}


@given(st.lists(st.tuples(st.text("abc:", min_size=1), st.binary()), unique_by=lambda header: header[0]))
def test_headers_survive_the_table(headers: list[tuple[str, bytes]]) -> None:
    assert headers_of(table_of(tuple(headers))) == tuple(headers)


def test_the_last_value_of_a_name_is_written() -> None:
    assert table_of((("a", b"1"), ("b", b"2"), ("a", b"3"))) == {"a": "3", "b": "2"}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        pytest.param((("ä" * 65, b""),), "more than 128 bytes", id="a name that AMQP cannot have"),
        pytest.param((("a", b"x" * 100_000),), "more than 100000 bytes", id="more than a frame"),
    ],
)
def test_headers_that_amqp_cannot_carry_are_refused(headers: Headers, reason: str) -> None:
    with pytest.raises(RecordRefusedError, match=reason):
        table_of(headers)
