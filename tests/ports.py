"""Ports for servers that tests start: none is given twice, and no outgoing connection can take one.

A port that the system chooses is free only until someone else asks: two servers were given the same one. And
it is of the range that the system takes outgoing ports from, so that a client which tries again and again to
reach a stopped server can be given the server's own port.
"""

import itertools
import os
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_FIRST_OUTGOING = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
_FIRST = _FIRST_OUTGOING // 2
_START = os.getpid() * 50  # two runs at once begin at different places
_offsets = itertools.count(_START)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on, and that no earlier call has returned.

    Raises:
        RuntimeError: If all are taken.
    """
    span = _FIRST_OUTGOING - _FIRST
    for offset in itertools.islice(_offsets, span):
        port = _FIRST + offset % span
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise RuntimeError(f"every port from {_FIRST} to {_FIRST_OUTGOING} is taken")
