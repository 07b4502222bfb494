"""Log lines: writes whole lines to a stream, in its encoding. It raises nothing and formats nothing."""

import io
import threading
from collections.abc import Callable
from typing import TextIO

from nsqkit.telemetry.line_writer import LineWriter, writer_of


class LogLines:
    """Writes whole lines. A closed stream, or a character that it cannot encode, raises nothing.

    A real file descriptor is written to without waiting for its reader: a full pipe must not stop the worker.

    Args:
        stream: The stream to write to.
        on_dropped: Called with the number of lines that were dropped, when there is room again.
    """

    # Reentrant: the garbage collector may run while it is held, and asyncio logs lost tasks that it finds.
    _lock = threading.RLock()

    def __init__(self, stream: TextIO, on_dropped: Callable[[int], object]) -> None:
        self._stream = stream
        self._writer = _writer_of(stream, on_dropped)

    def msg(self, line: str) -> None:
        """Write a line."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            encoded = line.encode(encoding, "backslashreplace")
            if self._writer is not None:
                self._writer.write(encoded + b"\n")
                return
            writable = encoded.decode(encoding)
            with self._lock:
                self._stream.write(f"{writable}\n")
                self._stream.flush()
        except (OSError, ValueError):  # closed pipe, full disk or closed stream: nowhere is left to report it
            return

    debug = info = warning = error = critical = msg


def _writer_of(stream: TextIO, on_dropped: Callable[[int], object]) -> LineWriter | None:
    """Return the writer of a stream's descriptor; None for a stream without one, such as one of a test."""
    if type(stream) is not io.TextIOWrapper:
        return None
    try:
        return writer_of(stream.fileno(), on_dropped)
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return None
