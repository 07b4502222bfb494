"""NSQ's frames: parse them from chunks that begin and end anywhere. No I/O."""

import struct

from nsqkit.nsq.message import Link, Message

HEADER = struct.Struct(">ii")
"""Frame header: size of the rest of the frame, and frame type."""
TYPE_BYTES = 4
_MESSAGE_FRAME = struct.Struct(">iiqH16s")
"""Frame header and message header: timestamp in ns, attempts, id. pynsq would read attempts as signed."""
_MESSAGE_TYPE = 2
_BODY_AT = _MESSAGE_FRAME.size
LEAST_MESSAGE_BYTES = _BODY_AT - TYPE_BYTES
"""Size of the frame of an empty message, without the size itself."""
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

    def feed(
        self, chunk: bytes, link: Link, received_s: float
    ) -> tuple[list[Message], list[tuple[int, bytes]]]:
        """Parse the next chunk, and return what it completes.

        Args:
            chunk: Next bytes of the stream; any length.
            link: The connection, which answers the messages.
            received_s: Latest time at which the chunk arrived; see ``Message``.

        Returns:
            The messages, and type and data of each other frame, in order. Every byte is copied a fixed
            number of times, even if a frame arrives in many chunks.

        Raises:
            ValueError: If a frame's size is invalid or too large; the rest of the stream cannot be parsed.
        """
        if self._pending:
            self._pending += chunk
            if len(self._pending) < self._needed_bytes:
                return [], []
            chunk = bytes(self._pending)
            self._pending.clear()
        messages: list[Message] = []
        others: list[tuple[int, bytes]] = []
        start, end = 0, len(chunk)
        self._needed_bytes = HEADER.size
        while end - start >= HEADER.size:
            if end - start >= _BODY_AT:
                size, kind, timestamp_ns, attempts, id_ = _MESSAGE_FRAME.unpack_from(chunk, start)
            else:
                size, kind = HEADER.unpack_from(chunk, start)
            least = LEAST_MESSAGE_BYTES if kind == _MESSAGE_TYPE else TYPE_BYTES
            if not least <= size <= self._max_bytes:
                raise ValueError(
                    f"a frame has {size} bytes, not {least} to {self._max_bytes}; "
                    "for longer messages raise max_msg_bytes"
                )
            after = start + TYPE_BYTES + size
            if after > end:
                self._needed_bytes = after - start
                break
            if kind == _MESSAGE_TYPE:
                body = chunk[start + _BODY_AT : after]
                messages.append(Message(id_, body, timestamp_ns, attempts, received_s, link))
            else:
                others.append((kind, chunk[start + HEADER.size : after]))
            start = after
        if start < end:
            self._pending += chunk[start:] if start else chunk
        return messages, others
