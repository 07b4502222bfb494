"""Compression to nsqd: layers of bytes that take pieces of any size. No sockets."""

import importlib.util
import zlib

from nsqkit.errors import SettingsError
from nsqkit.settings.settings import Settings


class Deflate:
    """One connection's deflate, without zlib's header, flushed at every write.

    Args:
        level: 1 (fast) to 9 (small).
    """

    def __init__(self, level: int) -> None:
        self._packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._unpacker = zlib.decompressobj(-zlib.MAX_WBITS)

    def encode(self, data: bytes) -> bytes:
        """Return data compressed, complete as it is."""
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def decode(self, data: bytes) -> bytes:
        """Return what these bytes complete.

        Raises:
            zlib.error: If they are not deflate.
        """
        return self._unpacker.decompress(data)


class Snappy:
    """One connection's snappy, in its framing format."""

    def __init__(self) -> None:
        import snappy  # noqa: PLC0415 - an extra, which few install

        self._packer = snappy.StreamCompressor()
        self._unpacker = snappy.StreamDecompressor()

    def encode(self, data: bytes) -> bytes:
        """Return data compressed, complete as it is."""
        return self._packer.compress(data)

    def decode(self, data: bytes) -> bytes:
        """Return what these bytes complete.

        Raises:
            OSError: If a checksum is wrong, or they are not snappy.
        """
        return self._unpacker.decompress(data) if data else b""


def checked_compression(settings: Settings) -> str:
    """Return the compression of the settings.

    Raises:
        SettingsError: If it needs a package that is not installed.
    """
    if settings.compression == "snappy" and importlib.util.find_spec("snappy") is None:
        raise SettingsError(
            "compression=snappy needs the package python-snappy: "
            "install nsqkit[snappy], or set compression=deflate"
        )
    return settings.compression
