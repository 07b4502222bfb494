"""Dead letters: the record keeps the raw bytes whole, fits nsqd's limit, and shows no secret."""

import base64
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsqkit.runtime.dead_letter import (
    RECORD_TYPE,
    DeadLetterRecord,
    fitting,
    split_body,
)

BODY = b'{"n": 1}'
RECORD = DeadLetterRecord(
    body=BODY.decode(),
    body_base64=None,
    reason="exhausted",
    detail="gave up",
    error_type="ValueError",
    stack="x" * 500,
    attempts=5,
    message_id="0123456789abcdef",
    published_at="2023-11-14T22:13:20.000000Z",
    dead_at="2023-11-14T22:13:21.000000Z",
    topic="orders",
    channel="notify",
    handler="Notify",
    event_type="order.created.v1",
    event_id=None,
    traceparent=None,
    nsqkit_version="0.1.0",
)
WITHOUT_STACK = len(fitting(dataclasses.replace(RECORD, stack=""), max_bytes=10_000) or b"")
WHOLE = len(fitting(RECORD, max_bytes=10_000) or b"")


@given(st.binary())
def test_the_body_survives_as_text_or_base64_byte_by_byte(body: bytes) -> None:
    text, encoded = split_body(body)
    assert (text is None) != (encoded is None)
    if text is not None:
        assert text.encode() == body
    if encoded is not None:
        assert base64.b64decode(encoded, validate=True) == body


@pytest.mark.parametrize("body", [b"", b"plain", "ÄÖ 🛒".encode(), b'"\\ud800"'])
def test_what_is_utf8_stays_readable(body: bytes) -> None:
    assert split_body(body) == (body.decode(), None)


@pytest.mark.parametrize(
    ("max_bytes", "has_stack", "is_bare"),
    [
        pytest.param(WHOLE, True, False, id="all of it where it fits exactly"),
        pytest.param(WHOLE - 1, False, False, id="the stack goes first"),
        pytest.param(WITHOUT_STACK, False, False, id="as long as the rest fits exactly"),
        pytest.param(WITHOUT_STACK - 1, False, True, id="then there is no record, and the body goes alone"),
    ],
)
def test_what_does_not_fit_goes_in_this_order(max_bytes: int, has_stack: bool, is_bare: bool) -> None:  # noqa: FBT001
    encoded = fitting(RECORD, max_bytes=max_bytes)
    assert (encoded is None) == is_bare
    if encoded is None:
        return
    record = json.loads(encoded)
    assert record["type"] == RECORD_TYPE
    assert bool(record["stack"]) == has_stack
    assert record["body"] == BODY.decode()


@given(st.integers(1, 2000), st.binary(min_size=1, max_size=200))
def test_no_record_is_larger_than_nsqd_takes(limit: int, body: bytes) -> None:
    text, encoded = split_body(body)
    record = dataclasses.replace(RECORD, body=text, body_base64=encoded)
    assert len(fitting(record, max_bytes=limit) or b"") <= limit
