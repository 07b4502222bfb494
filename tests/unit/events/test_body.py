"""Body: any bytes can be read, filtered, masked and shown."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.events.body import Body, line

EVENT = b'{"specversion": "1.0", "type": "a.b.v1", "id": "e-1", "data": {"store": 330}}'
ORDER = {
    "store": 330,
    "paid": True,
    "note": None,
    "share": 0.5,
    "lines": [{"product": "p1", "tags": ["x"]}, {"product": "p2"}],
    "inner": {"city": "Bern"},
}


@pytest.mark.parametrize(
    ("body", "kind", "value"),
    [
        pytest.param(b'{"n": 1}', "json", {"n": 1}, id="an object"),
        pytest.param(b" null ", "json", None, id="null"),
        pytest.param(
            b"12345678901234567890123", "json", 12345678901234567890123, id="a whole number, exactly"
        ),
        pytest.param("grüezi\n\tWelt".encode(), "text", "grüezi\n\tWelt", id="a text"),
        pytest.param(b"a\\x1b", "text", "a\\x1b", id="a text with a backslash of its own"),
        pytest.param(b"a\x1b[31m", "binary", "a\x1b[31m", id="what moves a terminal"),
        pytest.param(b"\xffa", "binary", "\\xffa", id="no UTF-8"),
        pytest.param(b'{"n": NaN}', "text", '{"n": NaN}', id="a number that JSON does not have"),
        pytest.param(b"1e999", "text", "1e999", id="a number beyond all"),
        pytest.param(b"[" * 201 + b"]" * 201, "text", "[" * 201 + "]" * 201, id="nested too deeply"),
        pytest.param(b"[" * 10**6, "text", "[" * 10**6, id="nested absurdly deeply"),
        pytest.param(b"9" * 5000, "text", "9" * 5000, id="a number that takes long to read"),
        pytest.param(b"", "text", "", id="nothing"),
    ],
)
def test_what_is_read(body: bytes, kind: str, value: object) -> None:
    assert Body.read(body) == Body(kind, value)  # type: ignore[arg-type]


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_bytes_can_be_shown_on_a_terminal(body: bytes) -> None:
    read = Body.read(body)
    for each in (read, read.redacted()):
        shown = line(each.value)
        assert shown.isprintable()
        assert json.loads(shown) == each.value


class TestEnvelope:
    """A CloudEvent is shown by its data."""

    def test_an_event_has_attributes_and_data(self) -> None:
        body = Body.read(EVENT)
        assert (body.attribute("type"), body.attribute("id"), body.attribute("time")) == (
            "a.b.v1",
            "e-1",
            None,
        )
        assert body.content == {"store": 330}

    @pytest.mark.parametrize("bare", [b'{"type": "mine", "data": 1}', b'[{"type": "mine"}]', b"mine"])
    def test_anything_else_is_all_content(self, bare: bytes) -> None:
        body = Body.read(bare)
        assert body.attribute("type") is None
        assert body.content == body.value

    def test_an_attribute_that_is_no_text_is_none(self) -> None:
        assert Body("json", {"specversion": "1.0", "type": 1}).attribute("type") is None


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        pytest.param("store", "330", True, id="a number as JSON writes it"),
        pytest.param("store", "33", False, id="not a part of it"),
        pytest.param("paid", "true", True, id="true"),
        pytest.param("note", "null", True, id="null"),
        pytest.param("share", "0.5", True, id="a fraction"),
        pytest.param("inner.city", "Bern", True, id="a text in an object"),
        pytest.param("inner", "Bern", False, id="an object is no value"),
        pytest.param("inner.city.name", "Bern", False, id="a text has no fields"),
        pytest.param("lines.product", "p2", True, id="one of a list"),
        pytest.param("lines.tags", "x", True, id="one of a list in a list"),
        pytest.param("lines.product", "p3", False, id="none of a list"),
        pytest.param("missing", "null", False, id="a field that is not there is not null"),
    ],
)
def test_a_field_is_found_by_its_path(path: str, text: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert Body("json", ORDER).has(path, text) is expected


def test_fields_of_an_envelope_are_its_attributes_and_those_of_data() -> None:
    body = Body.read(EVENT)
    assert body.has("type", "a.b.v1")
    assert body.has("data.store", "330")


def test_what_is_no_json_has_no_fields() -> None:
    assert not Body("text", "store").has("store", "store")


def test_secrets_are_masked_in_json_and_in_text_of_any_length() -> None:
    assert Body("json", {"token": "abc", "n": 1}).redacted().value == {"token": "[redacted]", "n": 1}
    assert Body("json", "bob@example.org").redacted().value == "[redacted]"
    long = "x" * 20_000
    assert Body("binary", f"{long} token=abc").redacted() == Body("binary", f"{long} token=[redacted]")


def test_gzip_is_read_as_what_is_in_it() -> None:
    assert Body.read(gzip.compress(b'{"a": 1}')) == Body("json", {"a": 1})
    assert Body.read(b"\x1f\x8b\x00").kind == "binary"
