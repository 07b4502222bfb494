"""Ledgers: append-only files of what was confirmed, handled and given up. They judge nothing.

A line is one write to a file opened for appending, so that a process that is killed loses none that it has
written; at most its last line is torn, which readers leave out. What must outlive the machine is synced.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CONFIRMED = "confirmed.ledger"
DEAD = "dead.ledger"
OUTAGES = "outages.ledger"
HELD = "held.ledger"
PROCESSES = "processes.ledger"
WORKERS = "worker-*.ledger"


class Ledger:
    """A file that one process appends to.

    Args:
        path: Made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def write(self, *lines: str) -> None:
        """Append lines, each without its end."""
        self._file.write("".join(f"{line}\n" for line in lines).encode())

    def sync(self) -> None:
        """Return when the disk has all that was written."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Reader:
    """Reads on in a ledger that is still written.

    Args:
        path: It need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset_bytes = 0

    def lines(self) -> Iterator[list[str]]:
        """Yield the words of each line that is whole and was not read before."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset_bytes)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset_bytes += len(line)
                yield line.decode().split()
