"""NSQ's frames: parse them from chunks that begin and end anywhere. No I/O."""

import struct

HEADER = struct.Struct(">ii")
"""Frame header: size of the rest of the frame, and frame type."""
TYPE_BYTES = 4
MESSAGE = struct.Struct(">qH16s")
"""Message header: timestamp in ns, attempts, id. pynsq would read attempts as signed."""


class Frames:
    """Parser of frames; an incomplete frame waits for the next chunk."""

    __slots__ = ("_needed_bytes", "_pending")

    def __init__(self) -> None:
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
            ValueError: If a frame's size is invalid. The rest of the stream cannot be parsed then.
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
            if size < TYPE_BYTES:
                raise ValueError(f"invalid frame size of {size} bytes")
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
