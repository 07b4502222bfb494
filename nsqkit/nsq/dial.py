"""Dialling: open a TCP connection within a time limit, without blocking the event loop."""

import socket

from tornado.iostream import IOStream, StreamClosedError

from nsqkit.nsq.names import resolve
from nsqkit.nsq.time_limit import TimeLimit

_MAX_UNSENT_BYTES = 256 * 1024 * 1024
"""For a peer that does not read. More than all publishes that wait for a slow nsqd."""


class PatientStream(IOStream):
    """A stream on which only reads report that the connection was reset.

    nsqd refuses a body that is too big before it has read it, so further writes fail with a reset. Tornado
    would then close the stream at once, and nsqd's reason would never be read.
    """

    def write_to_fd(self, data: memoryview) -> int:
        """Write data; data for a reset connection counts as written."""
        try:
            return super().write_to_fd(data)
        except ConnectionError:
            return len(data)


async def dial(host: str, port: int, timeout_s: float) -> IOStream:
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
            return await _connect(family, address, timeout_s)
        except OSError as error:
            failure = error
    raise failure


async def _connect(family: int, address: tuple[object, ...], timeout_s: float) -> IOStream:
    stream = PatientStream(socket.socket(family, socket.SOCK_STREAM), max_write_buffer_size=_MAX_UNSENT_BYTES)
    try:
        async with TimeLimit(timeout_s):
            await stream.connect(address)
    except BaseException:  # cancellation included: leave no socket open
        stream.close()
        raise
    stream.set_nodelay(True)
    return stream


def reason(error: OSError) -> str:
    """Return a readable reason for a socket failure, which may be wrapped by tornado."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    cause = error.real_error if isinstance(error, StreamClosedError) else error
    if cause is None:
        return "closed by the other side"
    return (isinstance(cause, OSError) and cause.strerror) or str(cause)
