"""Failures: convert error frames and connection failures into nsqkit's errors. No I/O."""

import ssl

from nsqkit.errors import ConnectionLostError, NsqkitError, RefusedError
from nsqkit.nsq.dial import reason
from nsqkit.nsq.identify import explained
from nsqkit.nsq.tls import tls_failure
from nsqkit.policy.peer_text import peer_text

_SETTLE_FAILURES = {b"E_FIN_FAILED": "FIN", b"E_REQ_FAILED": "REQ", b"E_TOUCH_FAILED": "TOUCH"}


def failure_of(address: str, error: Exception) -> NsqkitError:
    """Return the nsqkit error for an exception that ended a connection.

    Args:
        address: ``host:port`` of the nsqd.
        error: Exception raised by connecting, by the handshake or by reading.
    """
    match error:
        case NsqkitError():
            return error
        case ssl.SSLError():
            return tls_failure(address, error)
        case OSError():  # including StreamClosedError and TimeoutError
            return ConnectionLostError(address, reason(error))
        case _:
            return ConnectionLostError(address, f"sent an invalid answer: {peer_text(repr(error))}")


def lost(address: str, failure: NsqkitError | None) -> ConnectionLostError:
    """Return a new error for a request on a connection that has ended.

    Args:
        address: ``host:port`` of the nsqd.
        failure: Why the connection ended; None if this process closed it.
    """
    match failure:
        case ConnectionLostError(address=address, reason=reason):
            return ConnectionLostError(address, reason)
        case None:
            return ConnectionLostError(address, "closed by this process")
        case _:
            return ConnectionLostError(address, f"closed: {failure}")


def refusal(address: str, frame: bytes) -> RefusedError:
    """Convert an error frame into an error.

    Args:
        address: ``host:port`` of the nsqd.
        frame: Data of the frame: a code, a space and a description.
    """
    code, _, description = frame.partition(b" ")
    return RefusedError(address, peer_text(code), explained(description))


def settle_failure(frame: bytes) -> str | None:
    """Return ``"FIN"``, ``"REQ"`` or ``"TOUCH"`` if an error frame reports that this command was late."""
    return _SETTLE_FAILURES.get(frame.partition(b" ")[0])
