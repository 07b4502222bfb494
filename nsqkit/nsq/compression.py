"""Compression: layers that compress and decompress the bytes of a connection. No sockets."""

import importlib.util
import zlib

from nsqkit.errors import SettingsError
from nsqkit.settings.settings import Settings

_STEP_BYTES = 65536
"""Most bytes that one call decompresses: as many bytes of deflate may contain 64 MiB."""


class Deflate:
    """Deflate for one connection: raw, without zlib's header, flushed at every write.

    Args:
        level: Compression level, 1 (fast) to 9 (small).

    Attributes:
        has_more: See :class:`~nsqkit.nsq.wire.Layer`.
    """

    has_more = False

    def __init__(self, level: int) -> None:
        self._packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)

    def encode(self, data: bytes) -> bytes:
        """Compress data; the result can be decompressed completely."""
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def decode(self, data: bytes) -> bytes:
        """Decompress bytes as far as they are complete, at most 64 KiB of them.

        Raises:
            zlib.error: If *data* is not deflate, or follows the end of it.
        """
        if self._unpacker.eof and data:
            raise zlib.error("data after the end of the stream")
        found = self._unpacker.decompress(self._unpacker.unconsumed_tail + data, _STEP_BYTES)
        self.has_more = len(found) == _STEP_BYTES
        return found


class Snappy:
    """Snappy for one connection, in its framing format.

    Attributes:
        has_more: Never: 64 KiB of snappy contain at most 1.4 MiB.
    """

    has_more = False

    def __init__(self) -> None:
        import snappy  # noqa: PLC0415 - an optional extra

        self._packer = snappy.StreamCompressor()
        self._unpacker = snappy.StreamDecompressor()

    def encode(self, data: bytes) -> bytes:
        """Compress data; the result can be decompressed completely."""
        return self._packer.compress(data)

    def decode(self, data: bytes) -> bytes:
        """Decompress bytes as far as they are complete.

        Raises:
            OSError: If a checksum is wrong, or *data* is not snappy.
        """
        return self._unpacker.decompress(data) if data else b""


def checked_compression(settings: Settings) -> str:
    """Return the compression in the settings.

    Raises:
        SettingsError: If the compression needs a package that is not installed.
    """
    if settings.compression == "snappy" and importlib.util.find_spec("snappy") is None:
        raise SettingsError(
            "compression=snappy needs the package python-snappy: "
            "install nsqkit[snappy], or set compression=deflate"
        )
    return settings.compression
