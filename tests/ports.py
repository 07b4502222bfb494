"""Ports for servers that tests start: none is given twice, and no outgoing connection can take one.

A port that the system chooses is free only until someone else asks: two servers were given the same one. And
it is of the range that the system takes outgoing ports from, so that a client which tries again and again to
reach a stopped server can be given the server's own port.
"""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_OUTGOING = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
_FIRST = _FIRST_OUTGOING // 2
_COUNTER = Path(tempfile.gettempdir()) / f"nsqkit-ports-{os.getuid()}"


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on; no run of the tests on this machine gives it again.

    Raises:
        RuntimeError: If all are taken.
    """
    span = _FIRST_OUTGOING - _FIRST
    for _ in range(span):
        port = _FIRST + _next_number() % span
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise RuntimeError(f"every port from {_FIRST} to {_FIRST_OUTGOING} is taken")


def _next_number() -> int:
    """Count the ports given by all processes: groups of tests run at the same time (ADR 0082)."""
    with _COUNTER.open("a+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0)
        file.truncate(0)
        file.write(str(number + 1))
    return number
