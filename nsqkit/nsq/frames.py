"""NSQ's frames: parse them from chunks that begin and end anywhere. No I/O."""

import struct

HEADER = struct.Struct(">ii")
"""Frame header: size of the rest of the frame, and frame type."""
TYPE_BYTES = 4
MESSAGE = struct.Struct(">qH16s")
"""Message header: timestamp in ns, attempts, id. pynsq would read attempts as signed."""
LONGEST_FRAME_BYTES = 64 * 1024 * 1024
"""nsqd does not report its max-msg-size on the connection; its default is 1 MiB."""


class Frames:
    """Parser of frames; an incomplete frame waits for the next chunk.

    Args:
        max_bytes: Size of the longest frame, without the size itself; 4 or more.
    """

    __slots__ = ("_max_bytes", "_needed_bytes", "_pending")

    def __init__(self, max_bytes: int = LONGEST_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pending = bytearray()
        self._needed_bytes = HEADER.size

    def feed(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Parse the next chunk, and return the frames that it completes.

        Args:
            chunk: Next bytes of the stream; any length.

        Returns:
            Type and data of each frame, in order. Every byte is copied a fixed number of times, even if a
            frame arrives in many chunks.

        Raises:
            ValueError: If a frame's size is invalid or too large; the rest of the stream cannot be parsed.
        """
        self._pending += chunk
        if len(self._pending) < self._needed_bytes:
            return []
        data = bytes(self._pending)
        frames = []
        start, end = 0, len(data)
        self._needed_bytes = HEADER.size
        while end - start >= HEADER.size:
            size, kind = HEADER.unpack_from(data, start)
            if not TYPE_BYTES <= size <= self._max_bytes:
                raise ValueError(
                    f"a frame has {size} bytes, not {TYPE_BYTES} to {self._max_bytes}; "
                    "for longer messages raise max_msg_bytes"
                )
            after = start + TYPE_BYTES + size
            if after > end:
                self._needed_bytes = after - start
                break
            frames.append((kind, data[start + HEADER.size : after]))
            start = after
        del self._pending[:start]
        return frames


def age_s(message: bytes, *, now_s: float) -> float:
    """Return the seconds since a message was published; 0 for a redelivery.

    Args:
        message: Data of the message frame.
        now_s: Wall-clock time, in seconds since 1970.
    """
    timestamp_ns, attempts, _ = MESSAGE.unpack_from(message)
    return now_s - timestamp_ns / 1e9 if attempts == 1 else 0.0
