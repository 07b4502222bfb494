"""Parse: a record is read whole, and whatever else is on a dead-letter topic is a dead letter, too."""

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsqkit.dead_letters.filters import Filters
from nsqkit.dead_letters.parse import CollectedLetter, parse_letter, source_of
from nsqkit.dead_letters.store import Store
from nsqkit.policy.names import dead_topic, retry_topic
from nsqkit.runtime.dead_letter import RECORD_TYPE
from tests.unit.dead_letters.letters import BODY, RECORD, TIMESTAMP_NS, message, published

FIELDS = sorted({*asdict(RECORD), "specversion", "id"})
LONG = "a-topic-whose-name-is-rather-long-0123456789"
CHANNEL = "a-channel-with-a-long-name"
EVENT = {"specversion": "1.0", "type": "order.created.v1", "id": "e-2", "traceparent": "00-x", "data": {}}


def test_a_record_tells_everything_and_its_body_byte_by_byte() -> None:
    assert parse_letter(message(published())) == CollectedLetter(
        dead_topic="orders.payments.dead",
        nsqd="a:4150",
        dead_message_id="0000000000000001",
        dead_timestamp_ns=TIMESTAMP_NS,
        is_record=True,
        body=BODY,
        reason=RECORD.reason,
        detail=RECORD.detail,
        error_type=RECORD.error_type,
        stack=RECORD.stack,
        attempts=6,
        message_id=RECORD.message_id,
        published_at=RECORD.published_at,
        dead_at=RECORD.dead_at,
        topic="orders",
        channel="payments",
        handler="ChargePayment",
        event_type="order.created.v1",
        event_id="e-1",
        traceparent=RECORD.traceparent,
        nsqkit_version="0.1.0",
    )


def test_a_body_that_is_no_utf_8_comes_back_as_it_was() -> None:
    body = bytes(range(256))
    assert parse_letter(message(published(body))).body == body


@pytest.mark.parametrize(
    ("dead_at", "expected"),
    [
        pytest.param("2026-01-01T02:05:00+02:00", "2026-01-01T00:05:00.000000Z", id="another zone"),
        pytest.param("2026-01-01T00:05:00Z", "2026-01-01T00:05:00.000000Z", id="no fraction"),
        pytest.param("soon", "2026-01-01T00:00:00.123457Z", id="none: the dead letter's own time"),
        pytest.param("0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00.123457Z", id="before the first year"),
    ],
)
def test_times_are_in_one_form_so_that_they_can_be_sorted(dead_at: str, expected: str) -> None:
    assert parse_letter(message(published(dead_at=dead_at))).dead_at == expected


class TestBodyAlone:
    """A record that did not fit, or bytes of somebody else."""

    def test_the_topics_name_and_the_envelope_tell_what_they_can(self) -> None:
        body = json.dumps(EVENT).encode()
        found = parse_letter(message(body))
        assert not found.is_record
        assert found.body == body
        assert (found.topic, found.channel) == ("orders", "payments")
        assert (found.event_type, found.event_id, found.traceparent) == ("order.created.v1", "e-2", "00-x")
        assert (found.reason, found.attempts, found.dead_at) == ("", 0, "2026-01-01T00:00:00.123457Z")
        assert (found.place, found.retry_topic) == ("orders/payments", "orders.payments.retry")

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param(b"no JSON", id="text"),
            pytest.param(b"\x00\xff", id="binary"),
            pytest.param(b"[1]", id="no object"),
            pytest.param(b'{"type": "%s", ' % RECORD_TYPE.encode(), id="half a record"),
            pytest.param(b'["%s"]' % RECORD_TYPE.encode(), id="the type in something else"),
            pytest.param(b'{"type": "x", "y": "%s"}' % RECORD_TYPE.encode(), id="the type elsewhere"),
            pytest.param(published(body=None, body_base64=None), id="a record without a body"),
            pytest.param(published(body=None, body_base64="?"), id="a record with a body that is no base64"),
            pytest.param(published(body=None, body_base64=7), id="a record with a number for a body"),
        ],
    )
    def test_what_is_no_record_is_kept_whole(self, body: bytes) -> None:
        found = parse_letter(message(body))
        assert (found.is_record, found.body) == (False, body)

    def test_where_the_name_does_not_tell_whose_it_is_nothing_is_made_up(self) -> None:
        found = parse_letter(message(b"x", dead_topic("orders", "a.b")))
        assert (found.topic, found.channel, found.retry_topic) == ("", "", "")
        assert found.place == dead_topic("orders", "a.b")


def test_fields_of_the_wrong_type_are_unknown() -> None:
    found = parse_letter(message(published(attempts="6", detail=7, event_id=["e"])))
    assert (found.attempts, found.detail, found.event_id) == (0, "", None)
    assert replace(found, attempts=6, detail=RECORD.detail, event_id="e-1") == parse_letter(
        message(published())
    )


@pytest.mark.parametrize("attempts", [-1, 1 << 16])
def test_attempts_that_nsqd_cannot_count_are_unknown(attempts: int) -> None:
    assert parse_letter(message(published(attempts=attempts))).attempts == 0


@pytest.mark.parametrize(
    ("topic", "channel"),
    [
        pytest.param("orders", "payments", id="plain"),
        pytest.param("shop.orders", "payments", id="a dot in the topic"),
        pytest.param("t" * 51, "channel", id="as long as it may be"),
    ],
)
def test_a_plain_name_tells_topic_and_channel(topic: str, channel: str) -> None:
    assert source_of(dead_topic(topic, channel)) == (topic, channel)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(dead_topic("orders", "a.b"), id="a dot in the channel"),
        pytest.param(dead_topic("orders", "a#ephemeral"), id="an ephemeral channel"),
        pytest.param(dead_topic(LONG, CHANNEL), id="over 64 characters"),
        pytest.param("orders.0123456789ab.dead", id="what may be a hash"),
        pytest.param("walking.dead", id="a topic of somebody else"),
        pytest.param(".dead", id="the suffix alone"),
        pytest.param("orders", id="another topic"),
    ],
)
def test_any_other_name_tells_nothing(name: str) -> None:
    assert source_of(name) == ("", "")


@pytest.mark.parametrize(("topic", "channel"), [("orders", "a.b"), (LONG, CHANNEL), ("t" * 51, "channel")])
def test_a_record_goes_back_where_its_handler_reads(topic: str, channel: str) -> None:
    found = parse_letter(message(published(topic=topic, channel=channel), dead_topic(topic, channel)))
    assert found.retry_topic == retry_topic(topic, channel)


WRONG: dict[str, object] = {
    "a list": [[]],
    "an object": {"a": 1},
    "null": None,
    "a number": 1.5,
    "true": True,
}
HOSTILE = {
    "half a surrogate pair as the type": b'{"specversion": "1.0", "type": "\\ud800"}',
    "half a surrogate pair as the id": b'{"specversion": "1.0", "type": "x", "id": "\\udfff"}',
    "half a surrogate pair in a record": b'{"type": "%s", "body": "\\ud800"}' % RECORD_TYPE.encode(),
    "NUL in texts": published(detail="a\0b", event_type="\0", error_type="\0"),
    "NUL in the envelope": b'{"specversion": "1.0", "type": "\\u0000"}',
    "a huge number": published(attempts=10**400),
    "a number too long to read": b'{"specversion": "1.0", "type": ' + b"1" * 5000 + b"}",
    "not a number": b'{"specversion": NaN, "type": "x"}',
    "deep nesting": b"[" * 100_000,
    "deep nesting in a record": b'{"type": "%s", "body": %s}' % (RECORD_TYPE.encode(), b"[" * 100_000),
    "times without end": published(dead_at="9999-12-31T23:59:59-14:00", published_at="\0"),
    "a local time at the beginning of time": published(dead_at="0001-01-01T00:00:00"),
    "true for a number": published(attempts=True),
    "an empty record": published(b""),
}
HOSTILE |= {
    f"{name} for every field": json.dumps(
        {**dict.fromkeys(asdict(RECORD), value), "type": RECORD_TYPE, "body": "x"}
    ).encode()
    for name, value in WRONG.items()
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_every_message_can_be_stored_and_read_again(body: bytes, store: Store) -> None:
    letter = parse_letter(message(body))
    assert store.add([letter]) == 1
    assert [each.letter for each in store.find(Filters())] == [letter]


@settings(max_examples=30)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5)
        ),
        max_leaves=10,
    )
)
def test_whatever_json_a_message_has_it_can_be_stored(value: object) -> None:
    body = json.dumps({"type": RECORD_TYPE, "specversion": "1.0", "body": "x", "fields": value}).encode()
    with_fields = json.dumps(value | {"type": RECORD_TYPE}).encode() if isinstance(value, dict) else body
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder, "dead.sqlite"), make=True) as store:
        for each in (body, with_fields):
            store.add([parse_letter(message(each))])
