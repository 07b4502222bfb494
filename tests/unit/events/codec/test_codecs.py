"""Codecs: other formats are read bare and in an envelope, published as declared; damage is named."""

import base64
import dataclasses
import datetime as dt
import gzip
import json
import pickle
from typing import Any

import msgspec
import pydantic
import pytest

from nsqkit.errors import DecodeError, EncodeError, EventError, UnknownEventError
from nsqkit.events.codec.binary import BytesCodec, MsgpackCodec, ProtobufCodec, WholeBody
from nsqkit.events.codec.codecs import JsonCodec
from nsqkit.events.codec.compressed import GzipCodec
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.codec.encoder import encode
from nsqkit.events.codec.protocol import Codec, codec_problem
from nsqkit.events.stamp import Stamp
from nsqkit.events.types import EventRegistry, EventType, event

STAMP = Stamp(source="shop", event_id="e-1", time="2024-05-01T10:00:00Z")
AT = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)


class Order(msgspec.Struct, frozen=True):
    order_id: str
    at: dt.datetime


class Checked(pydantic.BaseModel):
    order_id: str
    at: dt.datetime


@dataclasses.dataclass
class Photo:
    data: bytes


class Generated:
    """What protoc generates, as far as the codec uses it."""

    def __init__(self, number: int) -> None:
        self.number = number

    @classmethod
    def FromString(cls, data: bytes) -> "Generated":  # noqa: N802 - the name that protoc gives
        return cls(int(data))

    def SerializeToString(self, *, deterministic: bool) -> bytes:  # noqa: N802 - same
        assert deterministic
        return b"%d" % self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Generated) and other.number == self.number

    def __hash__(self) -> int:
        return self.number


class PickleCodec:
    """A codec of a team's own."""

    content_type = "application/x-pickle"

    def decode(self, data: bytes, model: type[Any], /) -> Any:
        found = pickle.loads(data)  # noqa: S301 - a test's own bytes
        assert isinstance(found, model)
        return found

    def encode(self, event: Any, /) -> bytes:
        return pickle.dumps(event)


def _known(
    model: type[Any], codec: Codec | None, *, enveloped: bool = False
) -> tuple[EventType, EventRegistry]:
    known = EventType("order.packed", 1, "packed", model, codec=codec, is_enveloped=enveloped)
    registry = EventRegistry()
    registry.add(known)
    return known, registry


EVENTS: list[Any] = [
    pytest.param(Order("o-1", AT), JsonCodec(), id="bare JSON"),
    pytest.param(Order("o-1", AT), GzipCodec(), id="gzip of JSON"),
    pytest.param(Order("o-1", AT), GzipCodec(MsgpackCodec()), id="gzip of MessagePack"),
    pytest.param(Order("o-1", AT), MsgpackCodec(), id="MessagePack of a Struct"),
    pytest.param(Checked(order_id="o-1", at=AT), MsgpackCodec(), id="MessagePack of a pydantic model"),
    pytest.param(Photo(b"\xff\xd8\x00"), BytesCodec(), id="plain bytes"),
    pytest.param(Generated(7), ProtobufCodec(), id="Protocol Buffers"),
    pytest.param(Order("o-1", AT), PickleCodec(), id="a codec of a team's own"),
]


@pytest.mark.parametrize(("sent", "codec"), EVENTS)
def test_an_event_is_published_bare_and_read(sent: Any, codec: Codec) -> None:
    known, registry = _known(type(sent), codec)
    _, body = encode(sent, STAMP, registry)
    assert body == codec.encode(sent)
    decoded = Decoder("packed", (known,), registry).decode(body)
    assert (decoded.event, decoded.wire_type, decoded.event_id) == (sent, "order.packed.v1", None)


@pytest.mark.parametrize(("sent", "codec"), EVENTS[1:])
def test_an_event_is_published_in_an_envelope_and_read(sent: Any, codec: Codec) -> None:
    known, registry = _known(type(sent), codec, enveloped=True)
    _, body = encode(sent, STAMP, registry, {"correlationid": "c-1"})
    written = json.loads(body)
    assert base64.b64decode(written["data_base64"]) == codec.encode(sent)
    assert (written["datacontenttype"], written["correlationid"]) == (codec.content_type, "c-1")
    decoded = Decoder("packed", (known,), registry).decode(body)
    assert (decoded.event, decoded.event_id) == (sent, "e-1")


def test_json_in_an_envelope_is_no_base64() -> None:
    known, registry = _known(Order, JsonCodec(), enveloped=True)
    _, body = encode(Order("o-1", AT), STAMP, registry)
    assert json.loads(body)["data"]["order_id"] == "o-1"
    assert Decoder("packed", (known,), registry).decode(body).event == Order("o-1", AT)


def test_the_handlers_codec_wins() -> None:
    known, registry = _known(Order, GzipCodec())
    decoder = Decoder("packed", (known,), registry, codec=MsgpackCodec())
    assert decoder.decode(MsgpackCodec().encode(Order("o-1", AT))).event == Order("o-1", AT)


def test_a_generated_class_is_an_event() -> None:
    wrappers = pytest.importorskip("google.protobuf.wrappers_pb2")
    known, registry = _known(wrappers.DoubleValue, ProtobufCodec(), enveloped=True)
    for number in (1.5, float("nan")):
        _, body = encode(wrappers.DoubleValue(value=number), STAMP, registry)
        found = Decoder("packed", (known,), registry).decode(body).event
        assert repr(found.value) == repr(number)
    bare, registry = _known(wrappers.DoubleValue, ProtobufCodec())
    with pytest.raises(DecodeError, match="DecodeError: "):
        Decoder("packed", (bare,), registry).decode(b"\xff")


ENVELOPE = {"specversion": "1.0", "type": "order.packed.v1", "source": "s", "id": "e-1"}
DATA = {"order_id": "o-1", "at": "2024-05-01T00:00:00Z"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(gzip.compress(json.dumps(DATA).encode()), id="gzip"),
        pytest.param(json.dumps(DATA).encode(), id="no gzip"),
        pytest.param(
            gzip.compress(json.dumps({**ENVELOPE, "data": DATA}).encode()), id="an envelope in gzip"
        ),
        pytest.param(json.dumps({**ENVELOPE, "data": DATA}).encode(), id="an envelope without gzip"),
        pytest.param(
            gzip.compress(json.dumps(DATA)[:9].encode()) + gzip.compress(json.dumps(DATA)[9:].encode()),
            id="two gzip files in a row",
        ),
    ],
)
def test_a_gzip_codec_reads_what_producers_send(body: bytes) -> None:
    known, registry = _known(Order, GzipCodec())
    assert Decoder("packed", (known,), registry).decode(body).event == Order("o-1", AT)


@pytest.mark.parametrize(
    ("codec", "body", "reason"),
    [
        pytest.param(GzipCodec(), gzip.compress(b"{}")[:-3], "damaged gzip: it is cut off", id="cut off"),
        pytest.param(GzipCodec(), b"\x1f\x8b\x00\x00", "damaged gzip: ", id="only its first bytes"),
        pytest.param(
            GzipCodec(),
            gzip.compress(b" " * 1001),
            "decompressed data has more than 1000 bytes",
            id="more than ten times the limit for messages",
        ),
        pytest.param(GzipCodec(), gzip.compress(b"{"), "not JSON: ", id="half of the JSON"),
        pytest.param(MsgpackCodec(), b"\xc1", "not MessagePack: ", id="not MessagePack"),
        pytest.param(MsgpackCodec(), b"\x81\xa8order_id\x07", "Expected `str`, got `int`", id="wrong field"),
        pytest.param(PickleCodec(), b"x", "UnpicklingError: ", id="what a team's codec raises"),
        pytest.param(PickleCodec(), b'{"specversion": ', "UnpicklingError: ", id="half of an envelope"),
    ],
)
def test_damaged_data_is_undecodable_and_says_why(codec: Codec, body: bytes, reason: str) -> None:
    known, registry = _known(Order, codec)
    with pytest.raises(DecodeError) as caught:
        Decoder("packed", (known,), registry, max_msg_bytes=100).decode(body)
    assert caught.value.reason.startswith(reason)


def test_a_gzip_bomb_is_stopped_at_its_bound() -> None:
    data = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        GzipCodec(max_bytes=1000).unpacked(data)
    assert GzipCodec(max_bytes=1000).unpacked(gzip.compress(b" " * 1000)) == b" " * 1000


def test_select_gets_the_values_that_a_codec_parses() -> None:
    known, registry = _known(Order, MsgpackCodec())
    seen: list[object] = []
    decoder = Decoder("packed", (known,), registry, select=seen.append)
    with pytest.raises(UnknownEventError):
        decoder.decode(msgspec.msgpack.encode({"kind": "paid"}))
    assert seen == [{"kind": "paid"}]


def test_what_a_codec_raises_when_it_writes_names_the_event() -> None:
    _, registry = _known(Photo, BytesCodec())
    with pytest.raises(EncodeError, match=r"order\.packed\.v1: event: cannot be written: TypeError"):
        encode(Photo("text"), STAMP, registry)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("codec", "model", "problem"),
    [
        pytest.param(GzipCodec, Order, "is not a codec: give an instance", id="the class"),
        pytest.param("gzip", Order, "is not a codec: give an instance", id="a name"),
        pytest.param(BytesCodec(), Order, "one field of bytes, and Order has 2", id="two fields for bytes"),
        pytest.param(ProtobufCodec(), Order, "Order is none", id="no class of protoc"),
    ],
)
def test_what_is_no_codec_for_an_event_is_refused(codec: Any, model: type[Any], problem: str) -> None:
    assert problem in str(codec_problem(codec, model))
    with pytest.raises(EventError, match="codec"):
        event("test_codecs.refused", version=1, codec=codec)(model)


def test_an_envelope_is_only_left_out_with_a_codec() -> None:
    with pytest.raises(EventError, match=r"envelope=False is for an event with a codec: JsonCodec\(\)"):
        event("test_codecs.bare", version=1, envelope=False)(Order)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            b'{"specversion":"1.0","type":"a.v9","source":"s","id":"i","traceparent":"00-1","data":1}',
            ("a.v9", "i", "s", "00-1"),
            id="an event of any type",
        ),
        pytest.param(b"\x00", ("photo.passed.v1", None, None, None), id="bytes"),
        pytest.param(b'{"specversion":"1.0"}', ("photo.passed.v1", None, None, None), id="no event"),
    ],
)
def test_a_whole_body_is_read_as_it_is(body: bytes, expected: tuple[str | None, ...]) -> None:
    """Its envelope, if it has one, only names it in log and traces."""
    known = EventType("photo.passed", 1, "photos", Photo, codec=WholeBody())
    found = Decoder("photos", (known,), EventRegistry()).decode(body)
    assert found.event == Photo(body)
    assert (found.wire_type, found.event_id, found.source, found.traceparent) == expected
