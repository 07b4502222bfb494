"""nsqd's output buffer: what waits to be written to one client, and when it is due. Pure.

Source:
    nsqd/client_v2.go (SetOutputBuffer), nsqd/protocol_v2.go (messagePump), Go's bufio.Writer.
"""

import math

_HEAD_BYTES = 8


class OutputBuffer:
    """Buffers the frames of messages, so that several are written together.

    The buffer is written when it is full, at a tick, and when the caller flushes it: before any
    other frame, and as soon as the client takes no more messages. Ticks come every *period_s* from
    the start. A tick with an empty buffer is saved, so the first message after a silence is written
    at once.

    Args:
        size_bytes: Size of the buffer; 1 buffers nothing.
        period_s: Seconds between ticks; 0 for no ticks.
        now_s: The time.

    Attributes:
        held_bytes: How full the buffer is.
    """

    def __init__(self, size_bytes: int, period_s: float, *, now_s: float) -> None:
        self.held_bytes = 0
        self._size_bytes = size_bytes
        self._period_s = period_s
        self._start_s = now_s
        self._ticks = 0
        self._parts: list[bytes] = []

    def put(self, frame: bytes) -> bytes:
        """Add a frame, and return the bytes to write now: none, or those that made the buffer overflow."""
        left_bytes = self._left_bytes(len(frame))
        self._parts.append(frame)
        self.held_bytes += len(frame)
        if left_bytes == self.held_bytes:
            return b""
        data = self.flush()
        if left_bytes:
            self._parts.append(data[-left_bytes:])
            self.held_bytes = left_bytes
        return data[: len(data) - left_bytes]

    def flush(self) -> bytes:
        """Return the content of the buffer, and empty it."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.held_bytes = 0
        return data

    def deadline_s(self) -> float | None:
        """Return when the buffer must be written; None if it is empty or has no ticks."""
        if not self.held_bytes or not self._period_s:
            return None
        return self._start_s + (self._ticks + 1) * self._period_s

    def tick(self, *, now_s: float) -> bytes:
        """Return the content of the buffer if a tick is due or was saved, else nothing."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now_s < deadline_s:
            return b""
        ticks = math.floor((now_s - self._start_s) / self._period_s)
        self._ticks = max(self._ticks + 1, ticks)
        return self.flush()

    def _left_bytes(self, frame_bytes: int) -> int:
        """Return how many bytes stay in the buffer after a frame is added.

        Go's writer fills its buffer, writes it out, and writes larger pieces directly. nsqd hands
        it the head of a frame and the rest separately.
        """
        size_bytes = self._size_bytes
        if size_bytes < _HEAD_BYTES:
            return 0
        left_bytes = self.held_bytes + _HEAD_BYTES
        left_bytes -= size_bytes * (left_bytes > size_bytes)
        left_bytes += frame_bytes - _HEAD_BYTES
        left_bytes -= size_bytes * (left_bytes > size_bytes)
        return left_bytes if left_bytes <= size_bytes else 0
