"""Bodies pass byte for byte, unless headers contain an event, or the route says that its headers are kept."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nsqkit.bridge.address import KafkaAddress, NsqAddress, RabbitmqAddress
from nsqkit.bridge.bodies import RefusedError, body_of, record_of
from nsqkit.bridge.record import Record
from nsqkit.bridge.route import Route
from tests.unit.bridge.conftest import MakeRoute

ENVELOPE = b'{ "specversion": "1.0", "type": "sold", "source": "shop", "id": "1", "data": 1.0 }'
CE = (("ce_specversion", b"1.0"), ("ce_type", b"sold"), ("ce_source", b"shop"), ("ce_id", b"1"))
TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
JSON = "application/json"


@pytest.fixture
def inward(make_route: MakeRoute) -> Route:
    return make_route("kafka://a.example:9092/sold?group=c", "nsq:bodies")


@pytest.fixture
def wrapping(make_route: MakeRoute) -> Route:
    return make_route(
        "kafka://a.example:9092/sold?group=c", "nsq:bodies", wrap=True, headers=["X-Request-Id", "missing"]
    )


def outward(make_route: MakeRoute, to: str = "kafka://a.example:9092/sold", **more: Any) -> Route:
    return make_route("nsq:bodies/out", to, **more)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(Record(body=ENVELOPE, content_type="application/cloudevents+json"), id="an envelope"),
        pytest.param(Record(body=ENVELOPE), id="an envelope without a media type"),
        pytest.param(Record(body=b"\x00\xff", headers=(("a", b"b"),)), id="bytes with headers"),
        pytest.param(
            Record(body=ENVELOPE, headers=CE, content_type="application/cloudevents+json; charset=UTF-8"),
            id="an envelope that says so, whatever its headers say",
        ),
    ],
)
def test_a_body_passes_byte_for_byte(inward: Route, record: Record) -> None:
    assert body_of(record, inward) == record.body


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        pytest.param(b'{"n": 1.0}', JSON, {"datacontenttype": JSON, "data": {"n": 1.0}}, id="JSON"),
        pytest.param(b"[1]", "", {"data": [1]}, id="JSON without a media type"),
        pytest.param(b"a\xff", "", {"data_base64": "Yf8="}, id="bytes without a media type"),
        pytest.param(
            b"{", JSON, {"datacontenttype": JSON, "data_base64": "ew=="}, id="not the JSON that it says"
        ),
        pytest.param(b"a", "text/plain", {"datacontenttype": "text/plain", "data": "a"}, id="text"),
        pytest.param(
            b"a",
            "text/plain; charset=latin1",
            {"datacontenttype": "text/plain; charset=latin1", "data_base64": "YQ=="},
            id="text in another character set",
        ),
        pytest.param(b"a", "image/png", {"datacontenttype": "image/png", "data_base64": "YQ=="}, id="bytes"),
        pytest.param(b"", JSON, {"datacontenttype": JSON}, id="an event without data"),
    ],
)
def test_an_event_in_binary_mode_becomes_an_envelope(
    inward: Route, body: bytes, content_type: str, expected: dict[str, Any]
) -> None:
    found = json.loads(body_of(Record(body=body, headers=CE, content_type=content_type), inward))
    assert found == {"specversion": "1.0", "type": "sold", "source": "shop", "id": "1", **expected}


def test_numbers_keep_their_digits(inward: Route) -> None:
    body = b'{"n": 1.10, "big": 123456789012345678901234567890}'
    assert body_of(Record(body=body, headers=CE, content_type=JSON), inward).endswith(
        b'"data":' + body + b"}"
    )


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
def test_amqp_has_other_names_for_the_attributes(inward: Route, prefix: str) -> None:
    headers = tuple((name.replace("ce_", prefix), value) for name, value in (*CE, ("ce_shop", b"x")))
    found = json.loads(body_of(Record(body=b"1", headers=headers), inward))
    assert (found["id"], found["shop"]) == ("1", "x")


def test_the_trace_of_a_header_is_kept_in_the_envelope(inward: Route) -> None:
    """An attribute of the event wins: its creator wrote it."""
    assert (
        json.loads(body_of(Record(body=b"1", headers=(*CE, TRACE)), inward))["traceparent"]
        == TRACE[1].decode()
    )
    own = (*CE, ("ce_traceparent", b"00-own"), TRACE)
    assert json.loads(body_of(Record(body=b"1", headers=own), inward))["traceparent"] == "00-own"


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        pytest.param(Record(body=None), "tombstone", "no value", id="tombstone"),
        pytest.param(Record(body=None, headers=CE), "tombstone", "no value", id="tombstone of an event"),
        pytest.param(Record(body=b""), "empty", "1 byte", id="empty"),
        pytest.param(Record(body=b"1", headers=CE[:3]), "unreadable", "no id", id="no id"),
        pytest.param(
            Record(body=b"1", headers=(("ce_specversion", b"0.3"), *CE[1:])),
            "unreadable",
            "'0.3'",
            id="version",
        ),
        pytest.param(
            Record(body=b"1", headers=(*CE, ("ce_x", b"\xff"))), "unreadable", "not text", id="not text"
        ),
        pytest.param(Record(body=b"1", headers=(*CE, CE[3])), "unreadable", "given twice", id="twice"),
        pytest.param(
            Record(body=b"1", headers=(*CE, ("ce_data", b"1"))), "unreadable", "'ce_data'", id="data"
        ),
    ],
)
def test_what_nsq_cannot_take(inward: Route, record: Record, reason: str, detail: str) -> None:
    with pytest.raises(RefusedError) as caught:
        body_of(record, inward)
    assert caught.value.reason == reason
    assert detail in caught.value.detail


def test_a_route_can_keep_headers_in_an_envelope(wrapping: Route) -> None:
    record = Record(
        body=b'{"n": 1}',
        headers=(("X-Request-Id", b"r1"), ("other", b"x"), TRACE),
        content_type=JSON,
        origin="sold[3]",
        position=17,
    )
    assert json.loads(body_of(record, wrapping)) == {
        "specversion": "1.0",
        "type": "bodies.record.v1",
        "source": "kafka:sold",
        "id": "sold[3]@17",
        "datacontenttype": JSON,
        "xrequestid": "r1",
        "traceparent": TRACE[1].decode(),
        "data": {"n": 1},
    }


def test_an_event_is_not_wrapped_again(wrapping: Route) -> None:
    assert body_of(Record(body=ENVELOPE), wrapping) == ENVELOPE


def test_outwards_a_body_passes_byte_for_byte(make_route: MakeRoute) -> None:
    route = outward(make_route)
    event, other = record_of(ENVELOPE, route), record_of(b"\x00", route)
    assert (event.body, event.content_type) == (ENVELOPE, "application/cloudevents+json; charset=UTF-8")
    assert (other.body, other.content_type, other.key) == (b"\x00", "", None)
    assert event.headers == other.headers == (("nsqkit-via", b"here/bodies"),)


def test_an_event_can_be_written_in_binary_mode(make_route: MakeRoute) -> None:
    head = b'{"specversion":"1.0","type":"sold","source":"shop","id":"1","n":5,"traceparent":"00-1",'
    body = head + b'"data":{"n": 1.10}}'
    found = record_of(body, outward(make_route, mode="binary"))
    assert (found.body, found.content_type) == (b'{"n": 1.10}', JSON)
    assert dict(found.headers) == {
        **dict(CE),
        "ce_n": b"5",
        "ce_traceparent": b"00-1",
        "traceparent": b"00-1",
        "nsqkit-via": b"here/bodies",
    }
    to = "amqp://b.example:5672/exchange"
    assert dict(record_of(body, outward(make_route, to, mode="binary")).headers)["cloudEvents_id"] == b"1"


@pytest.mark.parametrize(
    "body", [b"\x00", b'{"specversion": "1.0"}', ENVELOPE[:-2] + b', "data_base64": "!"}']
)
def test_what_is_no_event_has_no_binary_mode(make_route: MakeRoute, body: bytes) -> None:
    found = record_of(body, outward(make_route, mode="binary"))
    assert (found.body, found.headers) == (body, (("nsqkit-via", b"here/bodies"),))


@pytest.mark.parametrize(
    ("key", "expected"), [pytest.param('"k-1"', b"k-1", id="text"), pytest.param("1", None, id="not text")]
)
def test_the_partition_key_can_be_the_key_of_the_record(
    make_route: MakeRoute, key: str, expected: bytes | None
) -> None:
    body = ENVELOPE[:-2] + b', "partitionkey": %b}' % key.encode()
    assert record_of(body, outward(make_route, key="partitionkey")).key == expected


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DATA = st.one_of(
    VALUES.map(lambda value: (JSON, {"data": value})),
    st.text(min_size=1, max_size=9).map(lambda text: ("text/plain", {"data": text})),
    st.just(("image/png", {"data_base64": "Yf8="})),
    st.just(("image/png", {})),
)
EXTENSIONS = st.dictionaries(st.from_regex(r"x[a-z0-9]{1,9}", fullmatch=True), TEXTS, max_size=3)


@settings(max_examples=50)
@given(texts=st.tuples(TEXTS, TEXTS, TEXTS), data=DATA, extensions=EXTENSIONS, is_kafka=st.booleans())
def test_binary_mode_and_back_is_the_same_event(
    texts: tuple[str, str, str],
    data: tuple[str, dict[str, Any]],
    extensions: dict[str, str],
    *,
    is_kafka: bool,
) -> None:
    wire_type, source, event_id = texts
    content_type, members = data
    event = {
        "specversion": "1.0",
        "type": wire_type,
        "source": source,
        "id": event_id,
        "datacontenttype": content_type,
        **extensions,
        **members,
    }
    out, back = ROUTES[is_kafka]
    found = json.loads(body_of(record_of(json.dumps(event).encode(), out), back))
    if members.get("data", 0) is None:
        del event["data"]
    assert found == event


def _route(*, is_kafka: bool) -> tuple[Route, Route]:
    nsq = NsqAddress("round", "x")
    if is_kafka:
        there: Any = KafkaAddress(servers=("a:9092",), topic="round", group="g")
    else:
        there = RabbitmqAddress(host="a", port=5672, queue="round", exchange="round")
    common: dict[str, Any] = {"file": "f", "bridge": "b", "name": "n"}
    return (
        Route(source=nsq, target=there, mode="binary", **common),
        Route(source=there, target=NsqAddress("back"), **common),
    )


ROUTES = {each: _route(is_kafka=each) for each in (True, False)}
