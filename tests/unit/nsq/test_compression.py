"""The layers of compression, fed in pieces of every size."""

import importlib.util
import random
import zlib
from collections.abc import Callable

import pytest

from nsqkit.errors import SettingsError
from nsqkit.nsq.compression import Deflate, Snappy, checked_compression
from nsqkit.nsq.wire import Layer
from nsqkit.settings.settings import Settings

MIB = 1_048_576
BODIES = {
    "compressible": b"order " * (MIB // 6),
    "incompressible": random.Random(5).randbytes(MIB),
    "small": b"FIN 0123456789abcdef\n",
}


def decoded(layer: Layer, data: bytes) -> bytes:
    """Return all that is complete with these bytes; a layer may take several steps."""
    found = layer.decode(data)
    while layer.has_more:
        found += layer.decode(b"")
    return found


each_layer = pytest.mark.parametrize(
    "make", [pytest.param(lambda: Deflate(6), id="deflate"), pytest.param(Snappy, id="snappy")]
)


@each_layer
@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("piece_bytes", [7, 1009, 65536, 4 * MIB])
def test_what_comes_in_pieces_comes_out_whole(make: Callable[[], Layer], name: str, piece_bytes: int) -> None:
    """Pynsq's wrappers take a piece that completes nothing for an error, and close the connection."""
    body = BODIES[name] if piece_bytes > 7 else BODIES[name][:50_000]
    ours, theirs = make(), make()
    sent = ours.encode(body) + ours.encode(b"next")
    pieces = [sent[start : start + piece_bytes] for start in range(0, len(sent), piece_bytes)]
    assert b"".join(decoded(theirs, piece) for piece in pieces) == body + b"next"


@each_layer
def test_byte_by_byte_nothing_is_lost(make: Callable[[], Layer]) -> None:
    ours, theirs = make(), make()
    sent = ours.encode(b"one" * 100) + ours.encode(b"two")
    assert b"".join(theirs.decode(bytes([byte])) for byte in sent) == b"one" * 100 + b"two"


@each_layer
def test_what_is_written_is_complete_at_once(make: Callable[[], Layer]) -> None:
    """Nothing may wait for the next command: nsqd waits for this one."""
    ours, theirs = make(), make()
    for command in (b"RDY 1\n", b"FIN 0123456789abcdef\n", b"NOP\n"):
        assert theirs.decode(ours.encode(command)) == command


@each_layer
def test_nothing_is_nothing(make: Callable[[], Layer]) -> None:
    assert make().decode(b"") == b""


def test_what_is_no_deflate_is_an_error() -> None:
    with pytest.raises(zlib.error):
        Deflate(6).decode(b"HTTP/1.1 400 Bad Request")


def test_damaged_snappy_is_an_error() -> None:
    sent = bytearray(Snappy().encode(BODIES["incompressible"][:1000]))
    sent[500] ^= 1
    with pytest.raises(OSError, match="checksum"):
        Snappy().decode(bytes(sent))


def test_snappy_without_its_package_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match=r"python-snappy.*nsqkit\[snappy\]"):
        checked_compression(Settings(compression="snappy"))
    assert checked_compression(Settings(compression="deflate")) == "deflate"


def test_a_compression_that_nsqd_does_not_have_is_no_setting() -> None:
    with pytest.raises(SettingsError, match="none, deflate, snappy"):
        Settings(compression="gzip")
