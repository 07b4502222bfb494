"""Line writer: writes lines to a file descriptor and never waits for its reader. It formats nothing.

A line is written at once where there is room. Where there is none, because nobody reads the pipe, lines wait
in memory for a thread, and are dropped and counted when too many wait.
"""

import atexit
import contextlib
import os
import select
import stat
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

MAX_WAITING_BYTES: Final = 4 * 1024 * 1024
"""Lines that wait at a time, bytes; about 10,000 lines."""

_FLUSH_S: Final = 1.0
_CHUNK_BYTES: Final = 4096  # a pipe that is writable has room for PIPE_BUF bytes, which is this on Linux


class LineWriter:
    """Writes whole lines in their order, from any thread.

    Args:
        descriptor: The file descriptor of a pipe, socket, terminal or file.
        on_dropped: Called with the number of lines that were dropped, when there is room again.
        max_waiting_bytes: Lines that wait at a time, bytes.

    Attributes:
        dropped: Lines that were dropped so far.
    """

    def __init__(
        self,
        descriptor: int,
        on_dropped: Callable[[int], object],
        *,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        self._descriptor = descriptor
        self._on_dropped = on_dropped
        self._max_waiting_bytes = max_waiting_bytes
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._start_empty()

    def write(self, line: bytes) -> None:
        """Write a line, or keep it until there is room, or drop it."""
        self._leave_to_parent()
        with self._lock:
            # After a line was dropped, wait until there is room for the line that says so, too.
            most = self._max_waiting_bytes // 2 if self._unreported else self._max_waiting_bytes
            if self._waiting and self._waiting_bytes + len(line) > most:
                self.dropped += 1
                self._unreported += 1
                return
            self._report_dropped()
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            self._write_waiting()

    def flush(self, timeout_s: float) -> bool:
        """Wait until no line waits, and return whether none does.

        Args:
            timeout_s: The longest time to wait, seconds.
        """
        self._leave_to_parent()
        end_s = time.monotonic() + timeout_s
        while self._waiting and (left_s := end_s - time.monotonic()) > 0.0:
            if self._has_room(left_s):
                with self._lock:
                    self._write_waiting()
        return not self._waiting

    def _leave_to_parent(self) -> None:
        if self._pid != os.getpid():  # a fork: its lines wait in the parent, and its thread is there
            self._start_empty()

    def _start_empty(self) -> None:
        # Reentrant: the garbage collector may run while it is held, and asyncio logs the lost tasks it finds.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self.dropped = 0
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unreported = 0
        self._is_writing = False
        self._thread: threading.Thread | None = None

    def _report_dropped(self) -> None:
        if count := self._unreported:
            self._unreported = 0
            self._on_dropped(count)

    def _write_waiting(self) -> None:
        """Write while there is room; let a thread wait for more."""
        if self._is_writing:  # the garbage collector runs inside of a write, which goes on with this line
            return
        self._is_writing = True
        try:
            while self._waiting and self._has_room(0.0):
                self._write_some()
        finally:
            self._is_writing = False
        if self._waiting and self._thread is None:
            thread = threading.Thread(target=self._run, name="nsqkit-log", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter ends: flush_all writes what it can
                thread.start()
                self._thread = thread

    def _write_some(self) -> None:
        line = self._waiting[0]
        try:
            written = os.write(self._descriptor, line if self._is_file else line[:_CHUNK_BYTES])
        except BlockingIOError:  # somebody set O_NONBLOCK, and another process took the room
            return
        except OSError:  # closed pipe, full disk: nowhere is left to report it
            written = len(line)
        self._waiting_bytes -= written
        if written == len(line):
            self._waiting.popleft()
        else:
            self._waiting[0] = line[written:]

    def _has_room(self, timeout_s: float | None) -> bool:
        if self._is_file:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(None if timeout_s is None else timeout_s * 1000))

    def _run(self) -> None:
        while True:
            self._has_room(None)
            with self._lock:
                self._write_waiting()
                if not self._waiting:
                    self._report_dropped()
                if not self._waiting:
                    self._thread = None
                    return


_writers: Final[dict[int, LineWriter]] = {}


def writer_of(descriptor: int, on_dropped: Callable[[int], object]) -> LineWriter:
    """Return the one writer of a file descriptor, so that its lines keep their order."""
    if descriptor not in _writers:
        _writers[descriptor] = LineWriter(descriptor, on_dropped)
    return _writers[descriptor]


def lines_dropped() -> int:
    """Return how many lines this process has dropped."""
    return sum(each.dropped for each in _writers.values())


@atexit.register
def flush_all() -> None:
    """Wait until no line waits, at most a second for each descriptor. Called at exit, too."""
    for each in _writers.values():
        each.flush(_FLUSH_S)
