"""Output: reads what a process writes into a pipe, and can leave it unread for a while. Needs Linux."""

import fcntl
import os
import threading
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 65536
_PIPE_BYTES = 4096  # a second of the log fills it


class Output:
    """The reading end of the pipe of one process. Its thread ends with the process.

    Attributes:
        is_read: Cleared, nobody reads.
    """

    def __init__(self) -> None:
        self.is_read = threading.Event()
        self.is_read.set()

    def writer(self, log: Path) -> BinaryIO:
        """Return the writing end of a new, small pipe, whose content a thread appends to *log*."""
        reading, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        threading.Thread(target=self._read, args=(reading, log), name=log.name, daemon=True).start()
        return os.fdopen(writing, "wb")

    def _read(self, reading: int, log: Path) -> None:
        with os.fdopen(reading, "rb", buffering=0) as pipe, log.open("ab", buffering=0) as file:
            while self.is_read.wait() and (data := pipe.read(_CHUNK_BYTES)):
                file.write(data)
