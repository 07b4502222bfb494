"""Envelopes of others: every rule of CloudEvents' JSON format holds, whoever wrote the event."""

import base64
import dataclasses
import json
from typing import Any

import pytest

from nsqkit.errors import DecodeError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.envelope import is_json, read_envelope, read_origin
from nsqkit.events.types import EventType

BLOB = "Microsoft.Storage.BlobCreated"


@dataclasses.dataclass
class BlobCreated:
    url: str
    specversion: Any = None


KNOWN = EventType("blob.created", 1, "blobs", BlobCreated, BLOB)
DATA = {"url": "https://example.org/a"}
ENCODED = base64.b64encode(json.dumps(DATA).encode()).decode()


def _envelope(**fields: object) -> bytes:
    whole = {"specversion": "1.0", "type": BLOB, "source": "/storage", "id": "b-1", "data": DATA, **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="the least attributes"),
        pytest.param({"specversion": "1.1"}, id="a later minor version"),
        pytest.param({"datacontenttype": "application/json; charset=utf-8"}, id="a content type with more"),
        pytest.param({"datacontenttype": "application/vnd.blob+json"}, id="a content type that is JSON"),
        pytest.param(
            {"datacontenttype": None, "subject": None, "time": None}, id="null is as good as absent"
        ),
        pytest.param({"data": ..., "data_base64": ENCODED}, id="data in base64"),
        pytest.param({"data": None, "data_base64": ENCODED}, id="data in base64 beside null"),
        pytest.param({"data_base64": None}, id="data beside no data in base64"),
        pytest.param(
            {"data": json.dumps(DATA), "datacontenttype": "text/plain"}, id="JSON as text of another type"
        ),
        pytest.param({"comexampleextension": {"a": [1]}}, id="an extension"),
        pytest.param({"traceparent": "00-1-2-01"}, id="a trace context"),
    ],
)
def test_an_event_of_others_is_read(fields: dict[str, object]) -> None:
    decoded = Decoder("blobs", (KNOWN,)).decode(_envelope(**fields))
    assert (decoded.event, decoded.wire_type) == (BlobCreated(DATA["url"]), BLOB)
    assert (decoded.event_id, decoded.source) == ("b-1", "/storage")


@pytest.mark.parametrize(
    ("fields", "path", "reason"),
    [
        pytest.param(
            {"specversion": "0.3"}, "$.specversion", "must be '1.0', not '0.3'", id="an old version"
        ),
        pytest.param(
            {"specversion": 1.0}, "$.specversion", "must be '1.0', not 1.0", id="a number as version"
        ),
        pytest.param(
            {"data_base64": ENCODED},
            "$",
            "has data and data_base64; an event has one of them",
            id="data twice",
        ),
        pytest.param({"data": ..., "data_base64": "a*"}, "$.data_base64", "not base64: …", id="not base64"),
        pytest.param(
            {"data": ..., "data_base64": 7}, "$.data_base64", "must be a string, not 7", id="a number"
        ),
        pytest.param(
            {"data": ..., "data_base64": "eyJ1cmwiOiA3fQ=="},
            "$.data_base64.url",
            "Expected `str`, got `int`",
            id="a wrong field in base64",
        ),
        pytest.param(
            {"data": ..., "data_base64": "eyJ1cmwi"},
            "$.data_base64",
            "not JSON: Input data was truncated",
            id="half of the JSON in base64",
        ),
        pytest.param(
            {"data": json.dumps(DATA)}, "$.data", "Expected `object`, got `str`", id="JSON in a JSON text"
        ),
        pytest.param({"data": ...}, "$.data", "the envelope has no data", id="no data"),
        pytest.param({"source": ""}, "$.source", "must be a non-empty string, not ''", id="an empty source"),
    ],
)
def test_what_breaks_a_rule_says_which(fields: dict[str, object], path: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder("blobs", (KNOWN,)).decode(_envelope(**fields))
    assert (caught.value.path, caught.value.event_id) == (path, "b-1")
    assert caught.value.reason.startswith(reason.removesuffix("…"))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        pytest.param(b"[" + _envelope() + b"]", 1, id="of one"),
        pytest.param(b" [" + _envelope() + b"," + _envelope(type="other") + b"]", 2, id="of two"),
    ],
)
def test_a_batch_is_called_one(body: bytes, count: int) -> None:
    with pytest.raises(DecodeError) as caught:
        Decoder("blobs", (KNOWN,)).decode(body)
    assert caught.value.reason == (
        f"a batch of {count} CloudEvents; nsqkit takes one event per message: "
        "let the producer publish them one by one"
    )


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"url": "u", "specversion": 3}, id="a number"),
        pytest.param({"url": "u", "specversion": "2024-1"}, id="a text, without an attribute beside it"),
        pytest.param({"url": "u", "specversion": [1], "type": "x", "id": "y"}, id="not all attributes"),
    ],
)
def test_a_bare_event_may_have_a_field_of_that_name(body: dict[str, object]) -> None:
    decoded = Decoder("blobs", (KNOWN,)).decode(json.dumps(body).encode())
    assert (decoded.event, decoded.event_id) == (BlobCreated("u", body["specversion"]), None)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON", True),
        ("text/json;charset=utf-8", True),
        ("application/cloudevents+json", True),
        ("application/jsonp", False),
        ("text/plain", False),
        ("json", False),
        ("application/x-protobuf", False),
    ],
)
def test_content_types_that_are_json(content_type: str, *, expected: bool) -> None:
    assert is_json(content_type) is expected


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        pytest.param({}, ("/storage", "b-1"), id="the least attributes"),
        pytest.param({"id": ""}, ("/storage", ""), id="an empty id"),
        pytest.param({"subject": None, "time": None}, ("/storage", "b-1"), id="null is as good as absent"),
        pytest.param({"comexampleextension": {"a": [1]}}, ("/storage", "b-1"), id="an extension"),
        pytest.param({"data": ..., "data_base64": ENCODED}, ("/storage", "b-1"), id="data in base64"),
        pytest.param({"specversion": None}, None, id="no version"),
        pytest.param({"id": ...}, None, id="no id"),
        pytest.param({"source": 7}, None, id="a number as source"),
        pytest.param({"type": None}, None, id="null as type"),
        pytest.param({"time": 7}, None, id="a number as time"),
    ],
)
def test_source_and_id_are_those_of_the_whole_envelope(
    fields: dict[str, object], origin: tuple[str, str] | None
) -> None:
    body = _envelope(**fields)
    found = read_envelope(body)
    assert read_origin(body) == origin == (None if found is None else (found.source, found.id))


@pytest.mark.parametrize("body", [b'{"id": 1}', b'"specversion"', b'{"specversion": "1.0"', b"\xff"])
def test_a_body_without_an_envelope_has_no_origin(body: bytes) -> None:
    assert (read_origin(body), read_envelope(body)) == (None, None)
