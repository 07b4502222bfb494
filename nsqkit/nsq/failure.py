"""Failure: what nsqd refused, and what ended a connection, as one of nsqkit's errors. No I/O."""

import ssl

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.dial import reason
from nsqkit.nsq.identify import explained
from nsqkit.nsq.tls import tls_failure

_SETTLE_FAILURES = {b"E_FIN_FAILED": "FIN", b"E_REQ_FAILED": "REQ", b"E_TOUCH_FAILED": "TOUCH"}


def failure_of(address: str, error: Exception) -> NsqkitError:
    """Return why a connection ended that raised an error.

    Args:
        address: ``host:port`` of the nsqd.
        error: Raised by connecting, by the handshake or by reading.
    """
    match error:
        case NsqkitError():
            return error
        case ssl.SSLError():
            return tls_failure(address, error)
        case OSError():  # StreamClosedError and TimeoutError are two
            return ConnectionLostError(address, reason(error))
        case _:
            return ConnectionLostError(address, f"answered nonsense: {error!r}")


def lost(address: str, failure: NsqkitError | None) -> ConnectionLostError:
    """Return a new error for who asks something of a connection that has ended.

    Args:
        address: ``host:port`` of the nsqd.
        failure: Why it ended; None if it was closed here.
    """
    match failure:
        case ConnectionLostError(address=address, reason=reason):
            return ConnectionLostError(address, reason)
        case None:
            return ConnectionLostError(address, "closed here")
        case _:
            return ConnectionLostError(address, f"closed: {failure}")


def refusal(address: str, frame: bytes) -> RefusedError:
    """Return the refusal that an error frame is.

    Args:
        address: ``host:port`` of the nsqd.
        frame: Its data: a code, a space and a description.
    """
    code, _, description = frame.partition(b" ")
    return RefusedError(address, code.decode(errors="replace"), explained(description))


def settle_failure(frame: bytes) -> str | None:
    """Return ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` if an error frame says that such an answer came too late."""
    return _SETTLE_FAILURES.get(frame.partition(b" ")[0])
