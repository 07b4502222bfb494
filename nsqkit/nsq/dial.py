"""Dialling: open a TCP connection within a time limit, without blocking the event loop."""

import asyncio
import contextlib
import os
import socket

from nsqkit.nsq.names import resolve
from nsqkit.nsq.stream import Stream
from nsqkit.nsq.time_limit import TimeLimit

_MAX_UNSENT_BYTES = 256 * 1024 * 1024
"""For a peer that does not read. More than all publishes that wait for a slow nsqd."""


async def dial(host: str, port: int, timeout_s: float) -> Stream:
    """Connect to the first address of a host that answers, IPv6 or IPv4.

    pynsq would look names up on the event loop, try IPv4 only, and wait for the operating system's timeout.

    Args:
        host: A host name or an IP address, without brackets.
        port: TCP port, 1 to 65535.
        timeout_s: Time limit in seconds for the name lookup, and for each address.

    Raises:
        OSError: The failure of the lookup or of the last address; after a timeout, a TimeoutError.
    """
    async with TimeLimit(timeout_s):
        found = await resolve(host, port)
    failure = OSError("the host name has no address")
    for family, _, _, _, address in found:
        try:
            async with TimeLimit(timeout_s):
                return await _connect(family, address)
        except OSError as error:
            failure = error
    raise failure


async def _connect(family: int, address: tuple[object, ...]) -> Stream:
    loop = asyncio.get_running_loop()
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)  # noqa: FBT003 - the standard library's
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(connecting, address)
        _, stream = await loop.create_connection(
            lambda: Stream(connecting, _MAX_UNSENT_BYTES), sock=connecting
        )
    except BaseException:  # cancellation included: leave no socket open
        with contextlib.suppress(OSError):  # uvloop's transport may have closed it
            connecting.close()
        raise
    return stream


def reason(error: OSError) -> str:
    """Return a readable reason for a socket failure."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    if error.errno is not None and error.errno > 0:  # asyncio puts the address in place of the system's text
        return os.strerror(error.errno)
    return error.strerror or str(error)
