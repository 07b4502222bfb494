"""NSQ's frames, cut out of chunks that begin and end anywhere. No I/O."""

import struct

HEADER = struct.Struct(">ii")
"""Size of all that follows it, and frame type."""
TYPE_BYTES = 4
MESSAGE = struct.Struct(">qH16s")
"""What a message begins with: timestamp in ns, attempts, id. pynsq reads attempts as signed."""


class Frames:
    """The whole frames in what was fed so far; what is left over waits for the next chunk."""

    __slots__ = ("_needed_bytes", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needed_bytes = HEADER.size

    def feed(self, chunk: bytes) -> list[tuple[int, bytes]]:
        """Take the next chunk, and return the frames that it completes.

        Args:
            chunk: Any part of the stream.

        Returns:
            Each frame's type and data, in their order. Every byte is copied a fixed number of
            times, however many chunks a frame comes in.

        Raises:
            ValueError: If a size is impossible, so that nothing after it can be read.
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
                raise ValueError(f"a frame of {size} bytes")
            after = start + TYPE_BYTES + size
            if after > end:
                self._needed_bytes = after - start
                break
            frames.append((kind, data[start + HEADER.size : after]))
            start = after
        del self._pending[:start]
        return frames


def age_s(message: bytes, *, now_s: float) -> float:
    """Return how long ago a message was published; 0 for a redelivery.

    Args:
        message: The data of its frame.
        now_s: The wall clock, in seconds since 1970.
    """
    timestamp_ns, attempts, _ = MESSAGE.unpack_from(message)
    return now_s - timestamp_ns / 1e9 if attempts == 1 else 0.0
