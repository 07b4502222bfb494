"""Memory: how much a process has resident."""

import os
from pathlib import Path

from nsqkit.errors import SettingsError

_STATM = "/proc/{}/statm"


def check_memory_is_known(max_worker_memory_mb: int) -> None:
    """Refuse a limit where the memory of another process cannot be read.

    Raises:
        SettingsError: If there is a limit, but no ``/proc``.
    """
    if max_worker_memory_mb and not Path(_STATM.format(os.getpid())).exists():
        raise SettingsError("max_worker_memory_mb needs /proc, as on Linux: leave it out here")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 if it has ended."""
    try:
        pages = Path(_STATM.format(pid)).read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
