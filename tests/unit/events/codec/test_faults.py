"""Faults: bytes that are not JSON are named for what they are, with the byte to blame."""

import dataclasses
import gzip
import json

import pytest

from nsqkit.errors import DecodeError
from nsqkit.events.codec.decoder import Decoder
from nsqkit.events.types import EventType


@dataclasses.dataclass
class Named:
    name: str


DECODER = Decoder("names", (EventType("name.given", 1, None, Named),))
TEXT = '{"name": "Zoë"}'

NAMED = [
    pytest.param(TEXT.encode("utf-8-sig"), ("EF BB BF (byte 0)", "UTF-8 byte order mark"), id="UTF-8 BOM"),
    pytest.param(TEXT.encode("utf-16"), ("FF FE (byte 0)", "UTF-16 byte order mark"), id="UTF-16 with a BOM"),
    pytest.param(b"\xfe\xff" + TEXT.encode("utf-16-be"), ("FE FF (byte 0)", "UTF-16"), id="UTF-16, big end"),
    pytest.param(TEXT.encode("utf-32"), ("FF FE 00 00 (byte 0)", "UTF-32"), id="UTF-32 with a BOM"),
    pytest.param(TEXT.encode("utf-16-le"), ("00 (byte 1)", "UTF-16"), id="UTF-16 without a BOM"),
    pytest.param(TEXT.encode("utf-16-be"), ("00 (byte 0)", "UTF-16"), id="UTF-16, big end, without a BOM"),
    pytest.param(gzip.compress(TEXT.encode()), ("1F 8B (byte 0)", "gzip"), id="gzip"),
    pytest.param(b"\x28\xb5\x2f\xfd\x00", ("28 B5 2F FD (byte 0)", "Zstandard"), id="Zstandard"),
    pytest.param(TEXT.encode("latin-1"), ("EB (byte 12)", "'ë' in Latin-1"), id="Latin-1"),
    pytest.param(b'{"name": "\x81"}', ("81 (byte 10)", "not UTF-8"), id="neither UTF-8 nor Latin-1"),
    pytest.param(b'{"name": "\xed\xa0\x80"}', ("ED (byte 10)", "lone surrogate"), id="a surrogate as UTF-8"),
    pytest.param(b'{"name": "a\\ud83d"}', (r"\ud83d (byte 11)", "lone surrogate"), id="a high surrogate"),
    pytest.param(b'{"name": "\\uDE00"}', (r"\uDE00 (byte 10)", "lone surrogate"), id="a low surrogate"),
    pytest.param(b'{"name": NaN}', ("NaN (byte 9)",), id="NaN"),
    pytest.param(b"{'name': 1}", ("(byte 1)",), id="the repr of a dict"),
    pytest.param(b"<name/>", ("(byte 0)", "'<'"), id="XML"),
    pytest.param(b" ", ("it is empty",), id="white space"),
]


@pytest.mark.parametrize(("body", "named"), NAMED)
def test_a_bare_body_is_named_with_its_byte(body: bytes, named: tuple[str, ...]) -> None:
    with pytest.raises(DecodeError) as caught:
        DECODER.decode(body)
    assert caught.value.path == "$"
    assert caught.value.reason.startswith("not JSON: ")
    assert [text for text in named if text not in caught.value.reason] == []


@pytest.mark.parametrize(
    ("written", "named"),
    [
        pytest.param('"Zoë"'.encode("latin-1"), "EB (byte {})", id="Latin-1"),
        pytest.param(b'"\\ud83d"', r"\ud83d (byte {})", id="a lone surrogate"),
    ],
)
def test_positions_in_an_envelope_count_from_the_first_byte_of_the_message(
    written: bytes, named: str
) -> None:
    attributes = {"specversion": "1.0", "type": "name.given.v1", "source": "shop", "id": "e-1"}
    head = json.dumps(attributes).encode()[:-1] + b', "data": {"name": '
    body = head + written + b"}}"
    at = len(head) + (written.index(b"\xeb") if b"\xeb" in written else 1)
    with pytest.raises(DecodeError) as caught:
        DECODER.decode(body)
    assert named.format(at) in caught.value.reason


def test_a_surrogate_pair_and_an_escaped_backslash_are_fine() -> None:
    assert DECODER.decode(b'{"name": "\\ud83d\\ude00 \\\\ud83d"}').event == Named("\U0001f600 \\ud83d")
