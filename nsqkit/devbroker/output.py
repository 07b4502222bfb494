"""What waits to be written to one client, and until when: nsqd's output buffer. Pure.

Source:
    nsqd/client_v2.go (SetOutputBuffer), nsqd/protocol_v2.go (messagePump), Go's bufio.Writer.
"""

import math

_HEAD_BYTES = 8


class OutputBuffer:
    """Frames of messages that are held back so that several go out as one.

    What is held goes out when the buffer is full, at a tick, or when the caller says so: with any
    other frame, and as soon as the client is not ready for more. Ticks come every *period_s* from
    the start, needed or not, and one that was not needed is kept; so the first message after a
    pause goes out at once.

    Args:
        size_bytes: How much is held; 1 holds nothing.
        period_s: Seconds between ticks; 0 for none.
        now_s: The time.
    """

    def __init__(self, size_bytes: int, period_s: float, *, now_s: float) -> None:
        self.held_bytes = 0
        self._size_bytes = size_bytes
        self._period_s = period_s
        self._start_s = now_s
        self._ticks = 0
        self._parts: list[bytes] = []

    def put(self, frame: bytes) -> bytes:
        """Take a frame, and return what has to be written now: nothing, or a full buffer and more."""
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
        """Return all that is held, and hold nothing."""
        data = b"".join(self._parts)
        self._parts.clear()
        self.held_bytes = 0
        return data

    def deadline_s(self) -> float | None:
        """Return when what is held must go out; None if nothing is held, or there are no ticks."""
        if not self.held_bytes or not self._period_s:
            return None
        return self._start_s + (self._ticks + 1) * self._period_s

    def tick(self, *, now_s: float) -> bytes:
        """Return all that is held if a tick has come since the last one that was needed, else nothing."""
        deadline_s = self.deadline_s()
        if deadline_s is None or now_s < deadline_s:
            return b""
        ticks = math.floor((now_s - self._start_s) / self._period_s)
        self._ticks = max(self._ticks + 1, ticks)
        return self.flush()

    def _left_bytes(self, frame_bytes: int) -> int:
        """Return how much stays when a frame is written after what is held.

        Go's writer fills itself up, writes itself out, and passes what is larger than itself on;
        nsqd gives it a frame's head and the rest apart.
        """
        size_bytes = self._size_bytes
        if size_bytes < _HEAD_BYTES:
            return 0
        left_bytes = self.held_bytes + _HEAD_BYTES
        left_bytes -= size_bytes * (left_bytes > size_bytes)
        left_bytes += frame_bytes - _HEAD_BYTES
        left_bytes -= size_bytes * (left_bytes > size_bytes)
        return left_bytes if left_bytes <= size_bytes else 0
