"""Compressed: gzip around another codec, with a bound for what it decompresses to."""

import zlib
from typing import Any, TypeVar

from nsqkit.events.codec.codecs import JsonCodec, shaped
from nsqkit.events.codec.faults import FaultError
from nsqkit.events.codec.protocol import Codec
from nsqkit.events.shape import Shape

T = TypeVar("T")
GZIP_RATIO = 10
"""A message may be decompressed to so many times nsqd's limit for messages."""
_MARK = b"\x1f\x8b"
_WBITS = 16 + zlib.MAX_WBITS
_MAX_BYTES = 10_485_760


class GzipCodec:
    """Gzip around another codec; it also reads plain data, and a worker a compressed envelope.

    Args:
        codec: The format inside.
        max_bytes: Maximum size of decompressed data; a worker sets it to ten times the limit for messages.
    """

    content_type = "application/gzip"

    def __init__(self, codec: Codec | None = None, *, max_bytes: int = _MAX_BYTES) -> None:
        self.codec: Codec = codec or JsonCodec()
        self.max_bytes = max_bytes

    @property
    def shape(self) -> Shape | None:
        """The shape of the classes that the codec inside reads; None for that of their ``@event``."""
        return getattr(self.codec, "shape", None)

    @shape.setter
    def shape(self, shape: Shape) -> None:
        self.codec = shaped(self.codec, shape)

    def decode(self, data: bytes, model: type[T], /) -> T:
        """Return the event in compressed or plain bytes.

        Raises:
            ValueError: If the data is damaged, or longer than ``max_bytes``.
        """
        return self.codec.decode(self.unpacked(data), model)

    def encode(self, event: Any, /) -> bytes:
        """Return the compressed bytes of an event; equal events have equal bytes."""
        packing = zlib.compressobj(wbits=_WBITS)
        return packing.compress(self.codec.encode(event)) + packing.flush()

    def unpacked(self, data: bytes) -> bytes:
        """Return data without its compression; data that is not gzip as it is.

        Raises:
            ValueError: If it is damaged, or longer than ``max_bytes``.
        """
        if not data.startswith(_MARK):
            return data
        found = b""
        while data:  # gzip files may be joined
            unpacking = zlib.decompressobj(wbits=_WBITS)
            try:
                found += unpacking.decompress(data, self.max_bytes - len(found) + 1)
            except zlib.error as error:
                raise FaultError("$", f"damaged gzip: {error}") from None
            if len(found) > self.max_bytes:
                raise FaultError("$", f"decompressed data has more than {self.max_bytes} bytes")
            if not unpacking.eof:
                raise FaultError("$", "damaged gzip: it is cut off")
            data = unpacking.unused_data.lstrip(b"\0")
        return found

    def bounded(self, max_msg_bytes: int) -> "GzipCodec":
        """Return this codec with the bound that a limit for messages gives it.

        Args:
            max_msg_bytes: The limit, bytes.
        """
        return GzipCodec(self.codec, max_bytes=GZIP_RATIO * max_msg_bytes)
