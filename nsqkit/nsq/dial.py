"""A TCP connection to a host, within a time limit and without blocking the event loop."""

import asyncio
import socket

from tornado.iostream import IOStream, StreamClosedError


class PatientStream(IOStream):
    """A stream that leaves it to its reader to find out that the connection was reset.

    nsqd refuses a body that is too big before it has read it, so that writing on meets a reset;
    tornado then closes at once, and the reason that nsqd gave is never read.
    """

    def write_to_fd(self, data: memoryview) -> int:
        """Take what a reset connection can no longer take as written."""
        try:
            return super().write_to_fd(data)
        except ConnectionError:
            return len(data)


async def dial(host: str, port: int, timeout_s: float) -> IOStream:
    """Connect to the first of the host's addresses that answers, IPv6 or IPv4.

    pynsq looks names up on the event loop, tries IPv4 only, and waits for as long as the
    operating system does.

    Args:
        host: A name or an address, without brackets.
        port: 1 to 65535.
        timeout_s: For the name's look-up, and again for each of its addresses, in seconds.

    Raises:
        OSError: The last address's failure, or the look-up's; a TimeoutError is one of them.
    """
    try:
        async with asyncio.timeout(timeout_s):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty label, or one over 63 characters
        raise OSError(f"{host!r} is not a host's name") from error
    failure = OSError("the name has no address")
    for family, _, _, _, address in found:
        try:
            return await _connect(family, address, timeout_s)
        except OSError as error:
            failure = error
    raise failure


async def _connect(family: int, address: tuple[object, ...], timeout_s: float) -> IOStream:
    stream = PatientStream(socket.socket(family, socket.SOCK_STREAM))
    try:
        async with asyncio.timeout(timeout_s):
            await stream.connect(address)
    except BaseException:  # cancelled included: no socket stays behind
        stream.close()
        raise
    stream.set_nodelay(True)
    return stream


def reason(error: OSError) -> str:
    """Return what a socket's failure means, for people; tornado wraps it."""
    if isinstance(error, TimeoutError) and not error.args:
        return "no answer in time"
    cause = error.real_error if isinstance(error, StreamClosedError) else error
    if cause is None:
        return "closed by the other side"
    return (isinstance(cause, OSError) and cause.strerror) or str(cause)
