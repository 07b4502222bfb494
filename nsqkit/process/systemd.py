"""Systemd: reports to systemd that the service is ready or stopping, if systemd asks for it."""

import os
import socket
from typing import Final

from nsqkit.telemetry import logs

ADDRESS: Final = "NOTIFY_SOCKET"
"""Environment variable with systemd's socket. Child processes must not have it: only the parent reports."""
READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


def notify(state: str) -> None:
    """Send a state, ``READY`` or ``STOPPING``; without systemd this does nothing.

    Source:
        sd_notify(3): one datagram; a first ``@`` stands for the NUL of an abstract address.
    """
    address = os.environ.get(ADDRESS)
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
            systemd.connect(f"\0{address[1:]}" if address.startswith("@") else address)
            systemd.send(state.encode())
    except OSError as error:
        logs.get_logger().warning("systemd_unreachable", socket=address, reason=str(error))
